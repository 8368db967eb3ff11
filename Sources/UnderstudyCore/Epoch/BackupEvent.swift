// SPDX-License-Identifier: Apache-2.0

/// Everything that can happen to a backup's session. Messages of the peer have been authenticated and matched to this session.
public enum BackupEvent: Sendable, Hashable {
    /// At least every tenth of the detection time.
    case tick
    /// The standby QEMU and the staging arena exist.
    case standbyPrepared
    /// The throwaway standby reached `completed`.
    case rehearsed
    case rehearsalFailed(reason: String)
    /// The whole epoch (1 or later) lies in the staging arena and has been verified.
    case epochStaged(EpochIdentity)
    /// The epoch broke off or failed its verification.
    case epochTorn(EpochIdentity, reason: String)
    case epochApplied(UInt64)
    /// - Parameter progressAge: how long ago, in nanoseconds, the primary's session last made progress, at the time of sending.
    case heartbeat(progressAge: UInt64)
    /// So much silence of this host the primary bears now, in nanoseconds.
    case primaryBears(UInt64)
    /// Bytes of an epoch have arrived on the checkpoint stream.
    case streamAdvanced
    case takeoverRequested(TakeoverRequest)
    /// The primary wants to know whether this host could take over now.
    case switchoverAnnounced
    case primaryChannelClosed
    case dismissed(DismissalReason)
    case standbyDied(reason: String)
    case outOfMemory
    /// The standby loaded the device state; its guest does not run yet.
    case standbyActivated
    case guestRunning
    /// The takeover failed and it is certain that no virtual processor ever ran.
    case activationFailed(reason: String)
    case arbiterRead(number: UInt64, ArbiterReading)
    case arbiterAnswered(number: UInt64, ArbiterAnswer)
}
