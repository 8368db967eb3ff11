// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// What the two daemons do for their protocols.
extension Simulation {
    mutating func handle(_ event: PrimaryEvent) {
        for action in primary.handle(event, now: now) { perform(action) }
    }

    mutating func handle(_ event: BackupEvent) {
        guard backup != nil, let actions = backup?.handle(event, now: now) else { return }
        for action in actions { perform(action) }
    }

    mutating func perform(_ action: PrimaryAction) {
        switch action {
        case .askArbiter(let request): ask(request, from: .primary)
        case .prepareBackup(let record): prepareBackup(record)
        case .allowCheckpoint(let epoch): schedule(.primary, after: 20 + random.below(10), .checkpoint(epoch))
        case .release(let epoch): release(epoch)
        case .openGate: gateClosed = false
        case .holdGuest: holdGuest()
        case .resumeGuest: guestStopped = false
        case .endGuest:
            if guestAlive, !guestEverRanOnBackup { violate("the good copy was ended") }
            guestAlive = false
        case .prepareSwitchover: send(.backup(.switchoverAnnounced), to: .backup)
        case .requestTakeover(let request): send(.backup(.takeoverRequested(request)), to: .backup)
        case .dismissBackup(let reason): send(.backup(.dismissed(reason)), to: .backup)
        case .report(.committed): commits += 1
        case .report(.switchoverRefused), .report(.switchoverCancelled): refusals += 1
        case .report: break
        }
    }

    private mutating func holdGuest() {
        guestStopped = true
        guard case .switchingOver(let last) = primary.state else { return }
        if mutation == .switchesOverBeforeTheLastEpoch {
            send(.backup(.takeoverRequested(.switchover(epoch: last - 1))), to: .backup)
        }
        if mutation == .runsOnAfterTheLastEpoch {
            guestStopped = false
            gateClosed = false
        }
    }

    private mutating func prepareBackup(_ record: ArbiterRecord) {
        let configuration = BackupConfiguration(
            host: "b", record: record, sessionNonce: primary.configuration.sessionNonce, nonceSeed: (random.next(), random.next()))
        backup = BackupProtocol(configuration, now: now)
        schedule(.backup, after: 10, .backup(.standbyPrepared))
        schedule(.backup, after: 60, .backup(.rehearsed))
        schedule(.primary, after: 80, .primary(.rehearsed))
    }

    private mutating func release(_ epoch: UInt64) {
        if epoch > arrived { violate("I1: epoch \(epoch) released, the backup holds \(arrived)") }
        if let backupWonAt, now > backupWonAt + 150 * Self.millisecond { violate("I4: released long after the takeover") }
        released = max(released, epoch)
    }

    mutating func checkpoint(_ epoch: UInt64) {
        guard primary.allowedCheckpoint == epoch, guestAlive, let record = primary.record else { return }
        let identity = EpochIdentity(generation: record.generation, sessionNonce: primary.configuration.sessionNonce, epoch: epoch)
        if guestStopped { violate("epoch \(epoch) was cut of a held guest") }
        gateClosed = true
        lastCut = epoch
        handle(PrimaryEvent.epochCut(epoch))
        handle(PrimaryEvent.epochHandedToLink(epoch))
        if mutation == .acknowledgedByItself { handle(PrimaryEvent.acknowledged(identity)) }
        if mutation == .acknowledgedBeforeStaged { schedule(.backup, after: 1, .backup(.epochStaged(identity))) }
        send(.epochArrives(identity), to: .backup, transfer: random.below(random.below(4) == 0 ? 60 : 10))
    }

    mutating func epochArrives(_ identity: EpochIdentity) {
        if tearNext {
            tearNext = false
            handle(BackupEvent.epochTorn(identity, reason: "torn"))
            return
        }
        guard identity.epoch == arrived + 1 else { return }
        arrived = identity.epoch
        if mutation == .staysAcknowledgingWhileDeciding, backup?.state != .preparing, backup?.committed ?? 0 < identity.epoch {
            send(.primary(.acknowledged(identity)), to: .primary)
        }
        handle(BackupEvent.epochStaged(identity))
    }

    mutating func perform(_ action: BackupAction) {
        switch action {
        case .acknowledge(let identity): send(.primary(.acknowledged(identity)), to: .primary)
        case .refuse(_, let reason): send(.primary(.backupLost(.refusedEpoch(reason: reason))), to: .primary)
        case .askArbiter(let request): ask(request, from: .backup)
        case .activate(let epoch): activate(epoch)
        case .runGuest: runGuest()
        case .holdGuest, .disposeStandby: backupRuns = false
        case .tellPrimary(let notice): tell(notice)
        case .report(.primarySuspected(let cause)): self.cause = cause
        case .apply, .discard, .stopAcknowledging, .report: break
        }
    }

    private mutating func tell(_ notice: BackupNotice) {
        switch notice {
        case .winnerRuns(let generation): send(.primary(.winnerRuns(generation: generation)), to: .primary)
        case .handedBack(let generation): send(.primary(.handedBack(generation: generation)), to: .primary)
        case .standbyLost: send(.primary(.backupLost(.standbyDied)), to: .primary)
        case .takeoverDeclined(let reason): send(.primary(.takeoverDeclined(reason: reason)), to: .primary)
        case .switchoverReady: send(.primary(.switchoverReady), to: .primary)
        case .switchoverDeclined(let reason): send(.primary(.switchoverDeclined(reason: reason)), to: .primary)
        }
    }

    private mutating func activate(_ epoch: UInt64) {
        if epoch > arrived { violate("I2: takeover with epoch \(epoch), arrived \(arrived)") }
        if epoch < released { violate("I1: takeover with epoch \(epoch), released \(released)") }
        if case .requested(.switchover) = cause, epoch < lastCut || released < lastCut {
            violate("switchover from epoch \(epoch), though \(lastCut) was cut and \(released) released")
        }
        let failure: BackupEvent? =
            activationFails ? .activationFailed(reason: "test") : diesWhileActivating ? .standbyDied(reason: "test") : nil
        schedule(.backup, after: 5 + random.below(10), .backup(failure ?? .standbyActivated))
    }

    private mutating func runGuest() {
        guestEverRanOnBackup = true
        backupRuns = true
        schedule(.backup, after: 3, .backup(mutation == .handsBackAfterRunning ? .activationFailed(reason: "late") : .guestRunning))
    }
}
