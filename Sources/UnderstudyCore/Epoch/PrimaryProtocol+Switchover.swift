// SPDX-License-Identifier: Apache-2.0

/// The planned move of the guest to its backup.
///
/// First both hosts ask the arbiter, while epochs go on. Then the next epoch is the last one: the guest is held from its cut on, with a
/// closed gate, so that whatever it still did is never seen. When the backup has acknowledged that epoch, its output leaves, and only
/// then the backup is asked to take over. Until then the switchover can be called off by letting the guest run again; later the
/// arbiter's record decides, as after any takeover.
extension PrimaryProtocol {
    mutating func switchoverRequested(timeout: UInt64, now: UInt64) -> [PrimaryAction] {
        if switchover != nil { return [.report(.switchoverRefused(reason: "a switchover is under way already"))] }
        guard case .protected(let committed) = state, committed > 0 else {
            return [.report(.switchoverRefused(reason: "the guest is not protected, so no other host could go on with it"))]
        }
        switchover = PlannedSwitchover(deadline: now &+ timeout)
        return [.prepareSwitchover] + (conversation.isIdle ? [.askArbiter(conversation.read())] : [])
    }

    mutating func switchoverReady() -> [PrimaryAction] {
        switchover?.backupIsReady = true
        return []
    }

    mutating func switchoverDeclined(_ reason: String) -> [PrimaryAction] {
        isSwitchoverRevocable ? cancelSwitchover(reason) : []
    }

    /// Whether the guest will be held from the next cut on: everything for its move is prepared.
    public var holdsAtNextCut: Bool {
        guard case .protected = state else { return false }
        return switchover?.isPrepared == true
    }

    /// The guest was stopped for an epoch: the last one here, if a switchover is prepared.
    mutating func holdForSwitchover(at epoch: UInt64) -> [PrimaryAction] {
        guard holdsAtNextCut else { return [] }
        guestHeld = true
        return [.holdGuest] + enter(.switchingOver(epoch: epoch))
    }

    /// Calls off what is not decided at the arbiter: a guest that was held runs on from the very cut.
    mutating func cancelSwitchover(_ reason: String) -> [PrimaryAction] {
        guard switchover != nil else { return [] }
        switchover = nil
        let report: [PrimaryAction] = [.report(.switchoverCancelled(reason: reason))]
        guard case .switchingOver = state else { return report }
        guestHeld = false
        return [.resumeGuest] + report + enter(.protected(committed: released))
    }

    /// Time runs out: before the backup was asked the guest just goes on; afterwards this host must win the next generation first.
    mutating func watchSwitchover(now: UInt64) -> [PrimaryAction] {
        guard let switchover, now >= switchover.deadline else { return [] }
        let reason = "it took too long"
        if isSwitchoverRevocable { return cancelSwitchover(reason) }
        guard case .handingOver(.switchover) = state else { return [] }
        return [.report(.switchoverCancelled(reason: reason))] + goSolo()
    }

    /// The arbiter did not answer the question that precedes a switchover.
    mutating func arbiterSilent(_ reason: String?) -> [PrimaryAction] {
        guard let switchover, !switchover.recordVerified, isSwitchoverRevocable else { return [] }
        return cancelSwitchover("the arbiter does not answer\(reason.map { ": \($0)" } ?? "")")
    }

    private var isSwitchoverRevocable: Bool {
        switch state {
        case .protected, .switchingOver: true
        default: false
        }
    }
}
