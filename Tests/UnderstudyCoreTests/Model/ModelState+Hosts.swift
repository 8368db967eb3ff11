// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// What the two daemons do for their protocols.
extension ModelState {
    mutating func send(_ event: PrimaryEvent, _ mutation: Mutation?) {
        guard let now = time[.primary], let actions = primary?.handle(event, now: now) else { return }
        for action in actions { perform(action, mutation) }
    }

    mutating func send(_ event: BackupEvent, _ mutation: Mutation?) {
        guard let now = time[.backup], let before = backup?.state, let actions = backup?.handle(event, now: now) else { return }
        for action in actions { perform(action) }
        if case .epochStaged(let identity) = event, case .deciding = before, mutation == .acknowledgesAfterAsking {
            toPrimary.insert(.acknowledged(identity))
        }
        guard let backup, backup.state != before else { return }
        switch backup.condition {
        case .deciding, .takingOver, .active, .unable: toPrimary.insert(.heartbeat(backup.condition))
        case .preparing, .synchronising, .rehearsed, .eligible: break
        }
    }

    mutating func ask(_ request: ArbiterRequest, _ node: Node) {
        open[node] = request
        questions.insert(Question(node: node, request: request))
        forget()
    }

    /// What can have no effect any more: answers to earlier questions, and questions of which nothing can follow.
    mutating func forget() {
        let (open, stored) = (open, stored)
        questions = questions.filter { question in
            if open[question.node] == question.request { return true }
            guard case .compareAndSet(let proposal) = question.request.operation else { return false }
            return proposal.expected == stored
        }
        toPrimary = toPrimary.filter { event in
            switch event {
            case .arbiterRead(let number, _), .arbiterAnswered(let number, _): open[.primary]?.number == number
            default: true
            }
        }
        toBackup = toBackup.filter { message in
            switch message {
            case .event(.arbiterRead(let number, _)), .event(.arbiterAnswered(let number, _)): open[.backup]?.number == number
            default: true
            }
        }
    }

    mutating func perform(_ action: PrimaryAction, _ mutation: Mutation?) {
        switch action {
        case .askArbiter(let request):
            ask(request, .primary)
            if mutation == .opensBeforeTheAnswer, primary?.state == .deciding { gateClosed = false }
        case .release(let epoch): release(epoch)
        case .openGate: gateClosed = false
        case .holdGuest: guestStopped = true
        case .resumeGuest: guestStopped = false
        case .endGuest:
            if guestAlive, !backupEverRan { violate("the good copy was ended") }
            guestAlive = false
        case .prepareSwitchover: toBackup.insert(.event(.switchoverAnnounced))
        case .requestTakeover(let request): toBackup.insert(.event(.takeoverRequested(request)))
        case .dismissBackup(let reason): toBackup.insert(.event(.dismissed(reason)))
        case .report(.stateChanged(.solo)), .report(.recordRenewed): saved = primary?.record ?? saved
        case .report(.stateChanged(.ended)): if !gateClosed { saved = nil }
        case .prepareBackup, .allowCheckpoint, .report: break
        }
    }

    private mutating func release(_ epoch: UInt64) {
        if epoch > arrived { violate("I1: epoch \(epoch) released, the backup holds \(arrived)") }
        if let resumedFrom, epoch > resumedFrom { violate("I1: epoch \(epoch) released, the backup went on from \(resumedFrom)") }
        released = max(released, epoch)
    }

    mutating func checkpoint(_ epoch: UInt64, _ mutation: Mutation?) {
        guard let record = primary?.record else { return }
        if guestStopped { violate("epoch \(epoch) was cut of a held guest") }
        gateClosed = true
        cut = epoch
        send(.epochCut(epoch), mutation)
        send(.epochHandedToLink(epoch), mutation)
        toBackup.insert(.epoch(EpochIdentity(generation: record.generation, sessionNonce: Self.sessionNonce, epoch: epoch)))
    }

    mutating func arrive(_ identity: EpochIdentity, _ mutation: Mutation?) {
        guard backup != nil, identity.epoch <= arrived + 1 else { return }
        arrived = max(arrived, identity.epoch)
        send(.epochStaged(identity), mutation)
    }

    mutating func perform(_ action: BackupAction) {
        switch action {
        case .acknowledge(let identity): toPrimary.insert(.acknowledged(identity))
        case .refuse(_, let reason): toPrimary.insert(.backupLost(.refusedEpoch(reason: reason)))
        case .askArbiter(let request): ask(request, .backup)
        case .activate(let epoch): activate(epoch)
        case .runGuest: runGuest()
        case .holdGuest: backupRuns = false
        case .disposeStandby: (backupRuns, standby, isLoading) = (false, .none, false)
        case .tellPrimary(let notice): tell(notice)
        case .apply, .discard, .stopAcknowledging, .report: break
        }
    }

    private mutating func tell(_ notice: BackupNotice) {
        switch notice {
        case .winnerRuns(let generation): toPrimary.insert(.winnerRuns(generation: generation))
        case .handedBack(let generation): toPrimary.insert(.handedBack(generation: generation))
        case .standbyLost: toPrimary.insert(.backupLost(.standbyDied))
        case .takeoverDeclined(let reason): toPrimary.insert(.takeoverDeclined(reason: reason))
        case .switchoverReady: toPrimary.insert(.switchoverReady)
        case .switchoverDeclined(let reason): toPrimary.insert(.switchoverDeclined(reason: reason))
        }
    }

    private mutating func activate(_ epoch: UInt64) {
        if epoch > arrived { violate("I2: takeover with epoch \(epoch), arrived \(arrived)") }
        if epoch < released { violate("I1: takeover with epoch \(epoch), released \(released)") }
        if case .handingOver(.switchover(let last))? = primary?.state, epoch < last {
            violate("switchover from \(epoch), the last was \(last)")
        }
        isLoading = true
        resumedFrom = epoch
    }

    mutating func runGuest() {
        (backupRuns, backupEverRan, standby) = (true, true, .running)
    }
}
