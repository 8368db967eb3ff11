// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// Everything that can happen next.
extension ModelState {
    enum Step: Hashable {
        case primaryHears(PrimaryEvent), backupHears(ToBackup)
        case arbiterExecutes(Question), noAnswer(Node)
        case checkpoint(UInt64), silence(Node)
        case standbyLoads, guestRuns
        case restartPrimary, recoveryLooks, recoveryActs
        case fault(Fault)
    }

    var steps: [Step] {
        var steps: [Step] = []
        if let primary {
            steps += toPrimary.map { .primaryHears($0) }
            if let epoch = primary.allowedCheckpoint, epoch <= bounds.epochs, guestAlive { steps.append(.checkpoint(epoch)) }
        } else if saved != nil, bounds.faults[.primaryDaemonRestarts] != nil {
            steps.append(.restartPrimary)
        }
        steps += questions.map { .arbiterExecutes($0) }
        steps += open.keys.filter(isListening).map { .noAnswer($0) }
        if bounds.silences > 0 { steps += [Node.primary, .backup].filter(isListening).map { .silence($0) } }
        if backup != nil {
            steps += toBackup.map { .backupHears($0) }
            if isLoading { steps.append(.standbyLoads) }
            if backupRuns { steps.append(.guestRuns) }
        } else if standby != .none {
            steps.append(recovery == nil ? .recoveryLooks : .recoveryActs)
        }
        steps += bounds.faults.filter { $0.value > 0 && isPossible($0.key) }.map { .fault($0.key) }
        return steps
    }

    private func isListening(_ node: Node) -> Bool { node == .primary ? primary != nil : backup != nil }

    private func isPossible(_ fault: Fault) -> Bool {
        switch fault {
        case .guestExits: guestAlive
        case .guestHangs, .guestShutsDown: primary != nil && guestAlive
        case .unprotect, .switchover, .channelCloses, .primaryPauses, .primaryDaemonRestarts: primary != nil
        case .primaryHostDies: guestAlive || primary != nil
        case .standbyDies: backup != nil && standby != .none
        case .epochTorn, .activationFails, .backupHostDies, .backupDaemonRestarts: backup != nil
        }
    }

    func after(_ step: Step, _ mutation: Mutation?) -> ModelState {
        var next = self
        next.take(step, mutation)
        next.check()
        return next
    }

    private mutating func take(_ step: Step, _ mutation: Mutation?) {
        switch step {
        case .primaryHears(let event):
            if case .handedBack = event { toPrimary.remove(event) }
            send(event, mutation)
        case .backupHears(.epoch(let identity)): arrive(identity, mutation)
        case .backupHears(.event(let event)):
            if event == .switchoverAnnounced { toBackup.remove(.event(event)) }
            send(event, mutation)
        case .arbiterExecutes(let question): execute(question, mutation)
        case .noAnswer(let node): stayUnanswered(node, mutation)
        case .checkpoint(let epoch): checkpoint(epoch, mutation)
        case .silence(let node): beSilent(node, mutation)
        case .standbyLoads:
            isLoading = false
            if loadingFails { return send(.activationFailed(reason: "test"), mutation) }
            standby = .loaded
            send(.standbyActivated, mutation)
        case .guestRuns: send(.guestRunning, mutation)
        case .restartPrimary: restartPrimary(mutation)
        case .recoveryLooks:
            var nonces = NonceSequence(seed: (3, 3))
            recovery = TakeoverRecovery.step(session: session!, host: "b", guest: remains, current: stored, nonce: nonces.next())
        case .recoveryActs: recover()
        case .fault(let fault):
            bounds.faults[fault, default: 1] -= 1
            inject(fault, mutation)
        }
    }

    mutating func execute(_ question: Question, _ mutation: Mutation?) {
        let request = question.request
        switch request.operation {
        case .read:
            answer(
                question, .arbiterRead(number: request.number, .record(stored)), .arbiterRead(number: request.number, .record(stored)))
        case .compareAndSet(let proposal):
            let answer = carryOut(proposal, by: question.node, mutation)
            self.answer(
                question, .arbiterAnswered(number: request.number, answer), .arbiterAnswered(number: request.number, answer))
        }
        forget()
    }

    private mutating func carryOut(_ proposal: ArbiterProposal, by node: Node, _ mutation: Mutation?) -> ArbiterAnswer {
        let isTakeover = node == .backup && proposal.proposed?.lineage.count == 2 && proposal.proposed?.confirmed == false
        let matches = stored == proposal.expected || (mutation == .comparesWithCurrent && isTakeover && stored != proposal.proposed)
        guard matches else { return .lost(current: stored) }
        stored = proposal.proposed
        return .won(stored)
    }

    /// Whoever asked may be gone, or may have asked something else since.
    private mutating func answer(_ question: Question, _ primary: PrimaryEvent, _ backup: BackupEvent) {
        guard open[question.node] == question.request else { return }
        switch question.node {
        case .primary: toPrimary.insert(primary)
        case .backup: toBackup.insert(.event(backup))
        }
    }

    /// The question or its answer was lost; whether it was carried out, or will be, is another matter.
    private mutating func stayUnanswered(_ node: Node, _ mutation: Mutation?) {
        guard let request = open[node] else { return }
        switch (request.operation, node) {
        case (.read, .primary): send(PrimaryEvent.arbiterRead(number: request.number, .unknown(reason: "")), mutation)
        case (.read, .backup): send(BackupEvent.arbiterRead(number: request.number, .unknown(reason: "")), mutation)
        case (.compareAndSet(let proposal), _):
            let answer: ArbiterAnswer = mutation == .lostReplyCountsAsWon ? .won(proposal.proposed) : .unknown(reason: "")
            if node == .primary {
                send(PrimaryEvent.arbiterAnswered(number: request.number, answer), mutation)
            } else {
                send(BackupEvent.arbiterAnswered(number: request.number, answer), mutation)
            }
        }
    }

    /// Time passes without a word of the other host, while this one does not sleep.
    private mutating func beSilent(_ node: Node, _ mutation: Mutation?) {
        bounds.silences -= 1
        for _ in 0..<3 {
            time[node]! += Self.timing.detection / 10 * 4
            if node == .primary { send(PrimaryEvent.tick, mutation) } else { send(BackupEvent.tick, mutation) }
        }
    }
}
