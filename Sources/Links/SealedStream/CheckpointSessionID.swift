// SPDX-License-Identifier: Apache-2.0

/// Names one checkpoint stream on the wire, in clear: 16 random bytes agreed on the control channel. It is not a secret.
public struct CheckpointSessionID: Hashable, Sendable, CustomStringConvertible {
    /// Bytes of an id.
    public static let length = 16

    public let bytes: [UInt8]

    /// - Parameter bytes: exactly 16 bytes, else nil.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.length else { return nil }
        self.bytes = bytes
    }

    /// - Parameter hexadecimal: 32 hexadecimal digits, else nil.
    public init?(hexadecimal: String) {
        guard let bytes = Hexadecimal.decode(hexadecimal), let id = Self(bytes: bytes) else { return nil }
        self = id
    }

    /// A new id from libcrypto's generator.
    public static func random() throws(LinkError) -> CheckpointSessionID {
        CheckpointSessionID(trusted: try Cryptography.randomBytes(length))
    }

    /// 32 hexadecimal digits.
    public var hexadecimal: String { Hexadecimal.encode(bytes) }

    public var description: String { hexadecimal }

    init(trusted bytes: [UInt8]) {
        precondition(bytes.count == Self.length, "a session id has 16 bytes")
        self.bytes = bytes
    }
}
