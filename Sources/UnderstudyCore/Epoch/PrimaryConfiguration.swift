// SPDX-License-Identifier: Apache-2.0

/// What a primary's session is made of.
public struct PrimaryConfiguration: Sendable, Hashable {
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

    // A tuple is neither equatable nor hashable by itself.
    public static func == (left: PrimaryConfiguration, right: PrimaryConfiguration) -> Bool {
        left.host == right.host && left.backup == right.backup && left.sessionNonce == right.sessionNonce && left.timing == right.timing
            && left.nonceSeed == right.nonceSeed
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(host)
        hasher.combine(backup)
        hasher.combine(sessionNonce)
        hasher.combine(timing)
        hasher.combine(nonceSeed.0)
        hasher.combine(nonceSeed.1)
    }
}
