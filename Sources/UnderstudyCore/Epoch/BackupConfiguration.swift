// SPDX-License-Identifier: Apache-2.0

/// What a backup's session is made of.
public struct BackupConfiguration: Sendable, Hashable {
    /// This host's name, as in the arbiter's records.
    public var host: String
    /// The record in which the primary permitted this host; a takeover expects exactly this one.
    public var record: ArbiterRecord
    /// The primary's session number, on every message.
    public var sessionNonce: UInt64
    /// 128 fresh random bits for the arbiter's nonces.
    public var nonceSeed: (UInt64, UInt64)
    public var timing: ProtocolTiming

    public init(
        host: String, record: ArbiterRecord, sessionNonce: UInt64, nonceSeed: (UInt64, UInt64),
        timing: ProtocolTiming = ProtocolTiming()
    ) {
        self.host = host
        self.record = record
        self.sessionNonce = sessionNonce
        self.nonceSeed = nonceSeed
        self.timing = timing
    }

    // A tuple is neither equatable nor hashable by itself.
    public static func == (left: BackupConfiguration, right: BackupConfiguration) -> Bool {
        left.host == right.host && left.record == right.record && left.sessionNonce == right.sessionNonce && left.timing == right.timing
            && left.nonceSeed == right.nonceSeed
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(host)
        hasher.combine(record)
        hasher.combine(sessionNonce)
        hasher.combine(timing)
        hasher.combine(nonceSeed.0)
        hasher.combine(nonceSeed.1)
    }
}
