// SPDX-License-Identifier: Apache-2.0

/// What the operator is told by the primary.
public enum PrimaryReport: Sendable, Hashable {
    case stateChanged(PrimaryState)
    case backupLost(BackupLoss)
    case guestFailed(GuestFailure)
    case guestEnded(GuestEnd)
    case arbiterUnreachable(reason: String)
    /// We were stopped or starved this long; the arbiter is read before anything more is released.
    case ownPause(nanoseconds: UInt64)
    case committed(epoch: UInt64)
    /// An acknowledgement that does not name the epoch in flight; ignored.
    case staleAcknowledgement(EpochIdentity)
    case takeoverDeclined(reason: String)
    /// A switchover was asked for that cannot be; nothing was touched.
    case switchoverRefused(reason: String)
    /// The switchover that was under way will not happen; the guest goes on here as far as the arbiter allows.
    case switchoverCancelled(reason: String)
    /// The arbiter holds no record though one must exist; the guest stays held until the operator decides.
    case recordMissing
    /// Protection was refused because of this record.
    case refused(ArbiterRecord)
    /// A message or event that makes no sense in this state; ignored.
    case ignored(String)
    /// The guest runs here alone, and the arbiter's record of that is another one than before.
    case recordRenewed
}
