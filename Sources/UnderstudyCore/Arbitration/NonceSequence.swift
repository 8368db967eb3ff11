// SPDX-License-Identifier: Apache-2.0

/// Fresh nonces for the arbiter: a random prefix that no other instance shares, and a counter.
public struct NonceSequence: Sendable, Hashable {
    private let prefix: String
    private var count: UInt64 = 0

    /// - Parameter seed: 128 random bits, drawn anew for every protocol instance.
    public init(seed: (UInt64, UInt64)) {
        prefix = Self.hexadecimal(seed.0) + Self.hexadecimal(seed.1)
    }

    /// The next nonce: 32 hexadecimal digits, a hyphen and a number; never contains a slash.
    public mutating func next() -> String {
        count += 1
        return "\(prefix)-\(count)"
    }

    private static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
