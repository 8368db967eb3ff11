// SPDX-License-Identifier: Apache-2.0

/// What the daemon must do for the backup's protocol, in the order given.
public enum BackupAction: Sendable, Hashable {
    case acknowledge(EpochIdentity)
    /// Feed the staged epoch to the standby's incoming stream, in order.
    case apply(EpochIdentity)
    /// Throw the staged bytes away.
    case discard(EpochIdentity)
    /// Negative acknowledgement: the primary must not wait for this epoch.
    case refuse(EpochIdentity, reason: String)
    /// From here on no acknowledgement may leave, also none that waits in a queue of the daemon.
    case stopAcknowledging
    case askArbiter(ArbiterRequest)
    /// Finish applying up to this epoch, end the RAM section, feed the device state, wait for `completed`. The guest must not run.
    case activate(through: UInt64)
    /// Open the tap, `cont`, announce the MACs.
    case runGuest
    /// Stop the guest: the arbiter's record says that another host owns it.
    case holdGuest
    case tellPrimary(BackupNotice)
    case disposeStandby
    case report(BackupReport)
}
