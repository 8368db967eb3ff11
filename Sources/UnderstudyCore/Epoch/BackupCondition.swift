// SPDX-License-Identifier: Apache-2.0

/// What the backup says of itself in each heartbeat.
public enum BackupCondition: Sendable, Hashable {
    case preparing
    case synchronising
    case rehearsed
    /// Holds every epoch up to this one.
    case eligible(committed: UInt64)
    /// Stopped acknowledging and asked the arbiter.
    case deciding
    case takingOver
    case active
    /// Cannot take over: dismissed or failed.
    case unable
}
