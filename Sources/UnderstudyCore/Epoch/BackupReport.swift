// SPDX-License-Identifier: Apache-2.0

/// What the operator is told by the backup.
public enum BackupReport: Sendable, Hashable {
    case stateChanged(BackupState)
    case primarySuspected(TakeoverCause)
    case ownPause(nanoseconds: UInt64)
    case arbiterUnreachable(reason: String)
    case lostArbitration(current: ArbiterRecord?)
    /// The guest runs here, but the record could not be confirmed because it is another one.
    case recordContradicts(ArbiterRecord?)
    case epochRefused(EpochIdentity, reason: String)
    /// A message or event that makes no sense in this state; ignored.
    case ignored(String)
}
