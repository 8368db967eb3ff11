// SPDX-License-Identifier: Apache-2.0

/// The clear bytes with which each side of a checkpoint stream begins.
///
/// 64 bytes, first from the connecting side (the primary), then from the accepting side (the backup):
///
/// | offset | size | field                                                    |
/// |-------:|-----:|----------------------------------------------------------|
/// |      0 |    8 | `UNDRSTDY` in ASCII                                      |
/// |      8 |    4 | stream version, 1 (little-endian)                        |
/// |     12 |    4 | zero                                                     |
/// |     16 |   16 | session id; the backup repeats the primary's             |
/// |     32 |   32 | random bytes of the sender, new for every connection     |
///
/// Nothing in it is trusted: both prefaces enter the key derivation as salt, so that a changed preface makes the first
/// record fail, and a recorded connection cannot be played again nor a nonce occur twice, whatever the other side does.
struct Preface: Equatable {
    static let length = 64
    static let version: UInt32 = 1
    static let magic: [UInt8] = Array("UNDRSTDY".utf8)

    let session: CheckpointSessionID
    let random: [UInt8]

    init(session: CheckpointSessionID) throws(LinkError) {
        self.session = session
        random = try Cryptography.randomBytes(32)
    }

    /// - Parameter bytes: exactly 64 bytes.
    init(decoding bytes: [UInt8]) throws(LinkError) {
        precondition(bytes.count == Self.length, "a preface has 64 bytes")
        guard Array(bytes[..<8]) == Self.magic else {
            throw LinkError(.protocolViolation, "the peer does not speak Understudy's checkpoint protocol; check the address and port")
        }
        let version = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[8 + $1]) << UInt32(8 * $1) }
        guard version == Self.version else {
            throw LinkError(
                .protocolViolation, "the peer speaks version \(version) of the checkpoint stream, this daemon \(Self.version)")
        }
        guard bytes[12..<16].allSatisfy({ $0 == 0 }) else {
            throw LinkError(.protocolViolation, "a reserved field of the preface is not zero")
        }
        session = CheckpointSessionID(trusted: Array(bytes[16..<32]))
        random = Array(bytes[32...])
    }

    var encoded: [UInt8] {
        let version = (0..<4).map { UInt8(truncatingIfNeeded: Self.version >> UInt32(8 * $0)) }
        return Self.magic + version + [0, 0, 0, 0] + session.bytes + random
    }
}
