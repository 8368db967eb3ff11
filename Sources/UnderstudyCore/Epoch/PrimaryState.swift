// SPDX-License-Identifier: Apache-2.0

/// The states of a primary's session.
///
/// ```
/// idle -> registering -> synchronising -> rehearsed -> protected -> deciding -> solo -> ending -> ended
///                                                       ^ |  |  |           \-> holding -> confirming -> solo
///                                                       | |  |  \-> handingOver -> holding | deciding
///                                                       | |  \-> ending  ^
///                                                       \-switchingOver -/
/// ```
public enum PrimaryState: Sendable, Hashable {
    case idle
    /// Creates the record and permits the backup.
    case registering
    /// The gate is open; a lost backup only cancels.
    case synchronising
    case rehearsed
    /// The gate is closed, or about to be; only a won compare-and-set opens it.
    case protected(committed: UInt64)
    /// The guest is held since the cut of this epoch, the last one before a planned move; its acknowledgement is awaited.
    case switchingOver(epoch: UInt64)
    /// A compare-and-set decides whether this host goes on alone.
    case deciding
    /// The guest failed, or is moved on purpose, and the backup was asked to take over.
    case handingOver(TakeoverRequest)
    /// Runs with an open gate and no backup.
    case solo
    /// Lost, or not settled: the guest is stopped and gated until the record tells.
    case holding
    /// The guest was handed back; one more compare-and-set opens the gate.
    case confirming
    case ending
    case ended(PrimaryOutcome)
}
