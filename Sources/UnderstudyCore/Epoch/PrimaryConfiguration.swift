// SPDX-License-Identifier: Apache-2.0

/// What a primary's session is made of.
public struct PrimaryConfiguration: Sendable {
    /// This host's name, as in the arbiter's records.
    public var host: String
    /// The backup host's name.
    public var backup: String
    /// Fresh random number for this session, on every message.
    public var sessionNonce: UInt64
    /// 128 fresh random bits for the arbiter's nonces.
    public var nonceSeed: (UInt64, UInt64)
    public var timing: ProtocolTiming

    public init(
        host: String, backup: String, sessionNonce: UInt64, nonceSeed: (UInt64, UInt64), timing: ProtocolTiming = ProtocolTiming()
    ) {
        self.host = host
        self.backup = backup
        self.sessionNonce = sessionNonce
        self.nonceSeed = nonceSeed
        self.timing = timing
    }
}
