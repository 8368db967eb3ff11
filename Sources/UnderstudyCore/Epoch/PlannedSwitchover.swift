// SPDX-License-Identifier: Apache-2.0

/// A switchover that was asked for, until the guest is held for it or it is called off.
struct PlannedSwitchover: Sendable, Hashable {
    /// When it is called off, monotonic nanoseconds.
    let deadline: UInt64
    /// The arbiter answered, and its record is still this session's.
    var recordVerified = false
    /// The backup holds a whole epoch and reached the arbiter.
    var backupIsReady = false

    /// Nothing that can be known beforehand stands against it: the next epoch may be the last one.
    var isPrepared: Bool { recordVerified && backupIsReady }
}
