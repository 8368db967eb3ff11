// SPDX-License-Identifier: Apache-2.0

/// Why the primary lost its backup.
public enum BackupLoss: Sendable, Hashable {
    case silent
    /// It stopped acknowledging and asked the arbiter though we live.
    case suspectsPrimary
    case channelClosed
    case standbyDied
    case refusedEpoch(reason: String)
    case stagingLimit
    case rehearsalFailed(reason: String)
}
