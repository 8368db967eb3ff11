// SPDX-License-Identifier: Apache-2.0

/// The states of a backup's session.
///
/// ```
/// preparing -> synchronising -> rehearsed -> eligible -> deciding -> takingOver -> confirming -> active
///                                                             |           \-> handingBack -> failed
///                                                             \-> failed (lost)
/// ```
public enum BackupState: Sendable, Hashable {
    case preparing
    case synchronising
    case rehearsed
    /// Holds every epoch up to this one and may take over.
    case eligible(committed: UInt64)
    /// Stopped acknowledging; the arbiter decides.
    case deciding(committed: UInt64)
    case takingOver(committed: UInt64)
    /// The guest runs; the record is not confirmed yet.
    case confirming
    case active
    case handingBack
    case dismissed(DismissalReason)
    case failed(BackupFailure)
}
