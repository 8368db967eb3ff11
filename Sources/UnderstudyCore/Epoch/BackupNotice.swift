// SPDX-License-Identifier: Apache-2.0

/// What the backup tells the primary on the control channel, besides acknowledgements and heartbeats.
public enum BackupNotice: Sendable, Hashable {
    case winnerRuns(generation: UInt64)
    case handedBack(generation: UInt64)
    case standbyLost(reason: String)
    case takeoverDeclined(reason: String)
    /// This host could take over: it holds a whole epoch, and the arbiter answered with the record of this session.
    case switchoverReady
    case switchoverDeclined(reason: String)
}
