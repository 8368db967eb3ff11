// SPDX-License-Identifier: Apache-2.0

/// Everything that can happen to a primary's session. Messages of the peer have been authenticated and matched to this session.
public enum PrimaryEvent: Sendable, Hashable {
    /// At least every tenth of the detection time.
    case tick
    /// The throwaway standby loaded a full checkpoint and the rest of the memory fits one epoch.
    case rehearsed
    /// The guest is stopped and its output sealed: the cut of this epoch.
    case epochCut(UInt64)
    /// The sender thread has the whole epoch; the guest runs again.
    case epochHandedToLink(UInt64)
    /// The allowed checkpoint did not come about (guest suspended, save refused). The same epoch is allowed again.
    case checkpointAbandoned(UInt64)
    case acknowledged(EpochIdentity)
    case heartbeat(BackupCondition)
    case backupLost(BackupLoss)
    case guestFailed(GuestFailure)
    case guestEnded(GuestEnd)
    case unprotectRequested
    /// The operator wants the backup to run the guest.
    /// - Parameter timeout: nanoseconds after which the guest goes on here, as far as the arbiter allows.
    case switchoverRequested(timeout: UInt64)
    /// The backup could take over: the answer to `prepareSwitchover`.
    case switchoverReady
    case switchoverDeclined(reason: String)
    /// The backup cannot take over.
    case takeoverDeclined(reason: String)
    /// The backup's guest runs in this generation.
    case winnerRuns(generation: UInt64)
    /// The backup gave the guest back; the arbiter's record is read before it is believed.
    case handedBack(generation: UInt64)
    case arbiterRead(number: UInt64, ArbiterReading)
    case arbiterAnswered(number: UInt64, ArbiterAnswer)
}
