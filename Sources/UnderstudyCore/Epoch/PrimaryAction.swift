// SPDX-License-Identifier: Apache-2.0

/// What the daemon must do for the primary's protocol, in the order given. Every action may come twice: carry it out idempotently.
public enum PrimaryAction: Sendable, Hashable {
    /// Ask the arbiter off the session thread and come back with the same number.
    case askArbiter(ArbiterRequest)
    /// The backup is permitted in this record: prepare its standby and begin to synchronise.
    case prepareBackup(ArbiterRecord)
    /// The next cut may be made, as soon as the interval says so. Revoked by any other state than `protected`.
    case allowCheckpoint(epoch: UInt64)
    /// Every sealed frame of epochs up to this one may leave.
    case release(through: UInt64)
    /// A compare-and-set was won: everything held may leave, the relay may be removed. Abort a checkpoint under way.
    case openGate
    /// Keep the guest stopped (SIGSTOP) and gated.
    case holdGuest
    case resumeGuest
    /// Kill QEMU and only then remove the rules.
    case endGuest
    /// Ask the backup whether it could take over now; nothing is stopped yet.
    case prepareSwitchover
    case requestTakeover(TakeoverRequest)
    case dismissBackup(DismissalReason)
    case report(PrimaryReport)
}
