// SPDX-License-Identifier: Apache-2.0

/// Decisions at the arbiter and what follows from them.
extension PrimaryProtocol {
    mutating func settled(_ outcome: ArbiterConversation.Outcome, now: UInt64) -> [PrimaryAction] {
        switch outcome {
        case .ignored: return []
        case .undecided(let reason): return (reason.map { [.report(.arbiterUnreachable(reason: $0))] } ?? []) + arbiterSilent(reason)
        case .read(let current): return read(current, now: now)
        case .won(let current): return won(current, now: now)
        case .lost(let current): return lost(current, now: now)
        }
    }

    private mutating func read(_ current: ArbiterRecord?, now: UInt64) -> [PrimaryAction] {
        switch state {
        case .registering: return register(current)
        case .rehearsed, .protected, .switchingOver: return verified(current, now: now)
        case .deciding: return reopen(current, now: now)
        case .handingOver: return current == record ? [] : lostArbitration(current, now: now)
        case .holding: return evaluate(current, now: now)
        case .solo: return readAlone(current)
        case .idle, .synchronising, .confirming, .ending, .ended: return []
        }
    }

    // MARK: Registering

    private mutating func register(_ current: ArbiterRecord?) -> [PrimaryAction] {
        guard let current else { return decide(.create(owner: configuration.host, nonce: nonces.next())) }
        guard current.owner == configuration.host else { return [.report(.refused(current))] + enter(.ended(.refused)) }
        if current.isHandBack(to: configuration.host) { return decide(.confirm(current)) }
        guard current.confirmed else { return [.report(.refused(current))] + enter(.ended(.refused)) }
        return decide(.permitBackup(configuration.backup, current: current, nonce: nonces.next()))
    }

    private mutating func registered(_ current: ArbiterRecord, now: UInt64) -> [PrimaryAction] {
        guard current.backup == configuration.backup, current.confirmed else { return register(current) }
        record = current
        detector.heard(now: now)
        return enter(.synchronising) + [.prepareBackup(current)]
    }

    // MARK: Proposals

    private mutating func decide(_ proposal: ArbiterProposal) -> [PrimaryAction] {
        [.askArbiter(conversation.decide(proposal))]
    }

    mutating func goSolo(as state: PrimaryState = .deciding) -> [PrimaryAction] {
        guard let record else { preconditionFailure("going solo in state \(self.state) without a record") }
        flight = nil
        soloAt = nil
        return enter(state) + decide(.goSolo(from: record, nonce: nonces.next()))
    }

    mutating func end(_ outcome: PrimaryOutcome) -> [PrimaryAction] {
        guard let record else { preconditionFailure("ending in state \(state) without a record") }
        // Before epoch 1 was allowed the gate never closed, so there is nothing that the deletion could open.
        if state == .synchronising { gateOpened = true }
        // The withdrawal of a permission may be under way; deleting the record does the same.
        if state == .solo { conversation.close() }
        flight = nil
        wantedEnd = outcome
        return enter(.ending) + decide(.end(record))
    }

    // MARK: Settled

    private mutating func won(_ current: ArbiterRecord?, now: UInt64) -> [PrimaryAction] {
        switch (state, current) {
        case (.registering, let current?): return registered(current, now: now)
        case (.deciding, let current?), (.confirming, let current?), (.ending, let current?): return alone(current)
        case (.solo, let current?): return wonAlone(current)
        case (.ending, nil): return deleted()
        default: return []
        }
    }

    /// This host owns the next generation without a backup: the gate may open.
    private mutating func alone(_ current: ArbiterRecord) -> [PrimaryAction] {
        record = current
        gateOpened = true
        let held = guestHeld
        guestHeld = false
        let wanted = wantedEnd
        switch guest {
        case .ended: return [.openGate, .dismissBackup(.guestEnded)] + end(.guestEnded)
        case .lost: return [.endGuest, .dismissBackup(.guestEnded)] + end(.guestLost)
        case .present:
            let opening: [PrimaryAction] = held ? [.openGate, .resumeGuest] : [.openGate]
            guard let wanted else { return opening + [.dismissBackup(.wentSolo)] + enter(.solo) }
            return opening + [.dismissBackup(.unprotected)] + end(wanted)
        }
    }

    private mutating func deleted() -> [PrimaryAction] {
        let outcome = wantedEnd ?? .unprotected
        record = nil
        guard !gateOpened else { return enter(.ended(outcome)) }
        gateOpened = true
        let cleanUp: PrimaryAction = outcome == .guestLost ? .endGuest : .openGate
        return [cleanUp, .dismissBackup(.guestEnded)] + enter(.ended(outcome))
    }

    private mutating func lost(_ current: ArbiterRecord?, now: UInt64) -> [PrimaryAction] {
        switch state {
        case .registering: return register(current)
        case .ending where gateOpened:
            if let current, continues(current) {
                // A withdrawal of ours that had been given up was carried out first.
                record = current
                return decide(.end(current))
            }
            return (current.map { [.report(.refused($0))] } ?? []) + enter(.ended(wantedEnd ?? .unprotected))
        case .solo: return readAlone(current)
        case .deciding, .confirming, .ending: return lostArbitration(current, now: now)
        default: return []
        }
    }

    // MARK: Holding

    mutating func lostArbitration(_ current: ArbiterRecord?, now: UInt64) -> [PrimaryAction] {
        flight = nil
        guestHeld = true
        wantedEnd = nil
        return [.holdGuest] + enter(.holding) + evaluate(current, now: now)
    }

    private mutating func evaluate(_ current: ArbiterRecord?, now: UInt64) -> [PrimaryAction] {
        pollAt = now &+ configuration.timing.arbiterPoll
        guard let current else { return complain(.recordMissing) }
        if current == record { return [] }
        if record.map({ current.handsBack($0) }) ?? current.isHandBack(to: configuration.host) {
            guard guest == .present else {
                record = current
                return end(guest == .ended ? .guestEnded : .guestLost)
            }
            return enter(.confirming) + decide(.confirm(current))
        }
        if isSuperseded(by: current) { return takenOver() }
        return current.owner == configuration.host ? complain(.refused(current)) : []
    }

    /// True if the guest of another session certainly ran after ours: another owner's confirmed record, or this host's own takeover out
    /// of a session in which another host had been the confirmed owner.
    private func isSuperseded(by current: ArbiterRecord) -> Bool {
        guard current.confirmed else { return false }
        return current.owner != configuration.host || current.lineage.count == 2
    }

    private mutating func complain(_ report: PrimaryReport) -> [PrimaryAction] {
        guard complaint != report else { return [] }
        complaint = report
        return [.report(report)]
    }

    private mutating func takenOver() -> [PrimaryAction] {
        [.endGuest] + enter(.ended(.takenOver))
    }

    mutating func winnerRuns(_ generation: UInt64) -> [PrimaryAction] {
        guard let record, !gateOpened, generation == record.generation &+ 1 else { return ignored("winner of generation \(generation)") }
        switch state {
        case .rehearsed, .protected, .switchingOver, .handingOver, .deciding, .holding, .ending: return takenOver()
        case .idle, .registering, .synchronising, .confirming, .solo, .ended: return ignored("winner of generation \(generation)")
        }
    }

    mutating func handedBack() -> [PrimaryAction] {
        guard state == .holding, conversation.isIdle else { return [] }
        return [.askArbiter(conversation.read())]
    }

    // MARK: Reopening

    private mutating func reopen(_ current: ArbiterRecord?, now: UInt64) -> [PrimaryAction] {
        if current == nil, wasReleased {
            // The end of protection was decided; only the opening had not come about.
            record = nil
            guestHeld = false
            gateOpened = guest != .lost
            return (gateOpened ? [.openGate, .resumeGuest] : [.endGuest]) + enter(.ended(gateOpened ? .unprotected : .guestLost))
        }
        // With a dead guest only the permitted backup can go on; it must not be shut out.
        let leaveToBackup = guest == .lost && current?.backup != nil
        guard let current, continues(current), !leaveToBackup,
            let proposal = ArbiterProposal.reopen(current, by: configuration.host, nonce: nonces.next())
        else { return lostArbitration(current, now: now) }
        record = current
        return decide(proposal)
    }

    /// True if `current` belongs to the guest behind the closed gate: its session, its going solo, its hand-back. This host's own
    /// takeover (two nonces) is never behind a closed gate, so a guest that is has been superseded.
    private func continues(_ current: ArbiterRecord) -> Bool {
        guard current.owner == configuration.host else { return false }
        guard let session = record else { return current.lineage.count != 2 }
        // Within a generation only its owner changes the record; a takeover takes the next one.
        let permitted = current.generation == session.generation && current.lineage.count == 1 && current.confirmed
        let wentSolo = current.generation == session.generation &+ 1 && current.lineage.count == 1
        var returned = current
        returned.confirmed = false
        return current == session || returned.handsBack(session) || permitted || wentSolo
    }
}
