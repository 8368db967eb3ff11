// SPDX-License-Identifier: Apache-2.0

/// The decision, the takeover and the hand-back.
extension BackupProtocol {
    mutating func decide(_ cause: TakeoverCause) -> [BackupAction] {
        guard case .eligible(let committed) = state else { preconditionFailure("deciding in state \(state)") }
        closedAt = nil
        let proposal = ArbiterProposal.takeOver(committed: configuration.record, by: configuration.host, nonce: nonces.next())
        return [.stopAcknowledging, .report(.primarySuspected(cause))] + enter(.deciding(committed: committed)) + ask(proposal)
    }

    private mutating func ask(_ proposal: ArbiterProposal) -> [BackupAction] {
        [.askArbiter(conversation.decide(proposal))]
    }

    mutating func settled(_ outcome: ArbiterConversation.Outcome) -> [BackupAction] {
        switch outcome {
        case .ignored: return []
        case .undecided(let reason):
            return (reason.map { [.report(.arbiterUnreachable(reason: $0))] } ?? []) + arbiterSilent(reason)
        case .read(let current): return verifiedForSwitchover(current)
        case .won(let current): return current.map { won($0) } ?? []
        case .lost(let current): return lost(current)
        }
    }

    private mutating func won(_ current: ArbiterRecord) -> [BackupAction] {
        record = current
        switch state {
        case .deciding(let committed):
            if standbyFailure != nil { return handBack() }
            return enter(.takingOver(committed: committed)) + [.activate(through: committed)]
        case .confirming: return enter(.active)
        case .handingBack: return handedBack()
        case .preparing, .synchronising, .rehearsed, .eligible, .takingOver, .active, .dismissed, .failed: return []
        }
    }

    private mutating func lost(_ current: ArbiterRecord?) -> [BackupAction] {
        switch state {
        case .deciding:
            return [.report(.lostArbitration(current: current)), .disposeStandby] + enter(.failed(.lostArbitration))
        case .confirming: return contradicted(current)
        case .handingBack:
            // The primary may have confirmed our hand-back before we learnt that it was carried out.
            let ours = current.map { $0.owner == configuration.record.owner && $0.generation > record.generation } ?? false
            guard ours, let current else { return [.report(.recordContradicts(current))] + enter(.failed(.handedBack)) }
            record = current
            return handedBack()
        case .preparing, .synchronising, .rehearsed, .eligible, .takingOver, .active, .dismissed, .failed: return []
        }
    }

    private mutating func contradicted(_ current: ArbiterRecord?) -> [BackupAction] {
        let report: [BackupAction] = [.report(.recordContradicts(current))]
        // Without a record nobody else can win, since every decision expects an exact one.
        guard let current, current.owner != configuration.host else { return report + enter(.active) }
        return report + [.holdGuest] + enter(.failed(.guestLost(reason: "\(current.owner) owns generation \(current.generation)")))
    }

    mutating func activated() -> [BackupAction] {
        guard case .takingOver = state, !mayHaveRun else { return ignored("activation") }
        mayHaveRun = true
        return [.runGuest]
    }

    mutating func running() -> [BackupAction] {
        guard case .takingOver = state, mayHaveRun else { return ignored("running guest") }
        return enter(.confirming) + [.tellPrimary(.winnerRuns(generation: record.generation))] + ask(.confirm(record))
    }

    mutating func activationFailed(_ reason: String) -> [BackupAction] {
        guard case .takingOver = state else { return ignored("failed activation") }
        return handBack()
    }

    /// The standby goes first: once the record names the primary, no guest may exist here.
    mutating func handBack() -> [BackupAction] {
        let proposal = ArbiterProposal.handBack(takenOver: record, to: configuration.record.owner, nonce: nonces.next())
        return [.disposeStandby] + enter(.handingBack) + ask(proposal)
    }

    private mutating func handedBack() -> [BackupAction] {
        [.tellPrimary(.handedBack(generation: record.generation))] + enter(.failed(.handedBack))
    }
}
