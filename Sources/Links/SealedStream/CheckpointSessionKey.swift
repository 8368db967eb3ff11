// SPDX-License-Identifier: Apache-2.0

/// The secret of one checkpoint stream: 32 random bytes that travel on the control channel only. Never printed.
public struct CheckpointSessionKey: Sendable, CustomStringConvertible, CustomReflectable {
    /// Bytes of a key.
    public static let length = 32

    let bytes: [UInt8]

    /// - Parameter bytes: exactly 32 bytes, else nil.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.length else { return nil }
        self.bytes = bytes
    }

    /// - Parameter hexadecimal: 64 hexadecimal digits, else nil.
    public init?(hexadecimal: String) {
        guard let bytes = Hexadecimal.decode(hexadecimal), let key = Self(bytes: bytes) else { return nil }
        self = key
    }

    /// A new key from libcrypto's generator.
    public static func random() throws(LinkError) -> CheckpointSessionKey {
        CheckpointSessionKey(trusted: try Cryptography.randomBytes(length))
    }

    /// 64 hexadecimal digits, for the control channel's message that hands the key over; never log it.
    public var secretHexadecimal: String { Hexadecimal.encode(bytes) }

    public var description: String { "(secret)" }

    public var customMirror: Mirror { Mirror(self, children: [:]) }

    private init(trusted bytes: [UInt8]) {
        self.bytes = bytes
    }
}
