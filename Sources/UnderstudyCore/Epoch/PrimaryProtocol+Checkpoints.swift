// SPDX-License-Identifier: Apache-2.0

/// Epochs in flight: allowed, cut, handed to the link, acknowledged, released.
extension PrimaryProtocol {
    mutating func rehearsed() -> [PrimaryAction] {
        guard state == .synchronising else { return ignored("rehearsed") }
        return enter(.rehearsed) + allow(1)
    }

    mutating func allow(_ epoch: UInt64) -> [PrimaryAction] {
        flight = PrimaryFlight(epoch: epoch)
        return [.allowCheckpoint(epoch: epoch)]
    }

    mutating func cut(_ epoch: UInt64) -> [PrimaryAction] {
        // A cut that was under way when the gate was opened has closed it again.
        if gateOpened { return [.openGate] }
        guard var flight, flight.epoch == epoch, flight.stage == .allowed else { return ignored("cut of epoch \(epoch)") }
        flight.stage = .cut
        self.flight = flight
        return state == .rehearsed ? enter(.protected(committed: 0)) : holdForSwitchover(at: epoch)
    }

    mutating func handedToLink(_ epoch: UInt64) -> [PrimaryAction] {
        if flight?.epoch == epoch, flight?.stage == .cut { flight?.stage = .handedToLink }
        return []
    }

    mutating func abandoned(_ epoch: UInt64) -> [PrimaryAction] {
        guard let flight, flight.epoch == epoch, flight.stage != .handedToLink else { return ignored("abandoning epoch \(epoch)") }
        return cancelSwitchover("no checkpoint could be taken") + allow(epoch)
    }

    mutating func acknowledged(_ identity: EpochIdentity, now: UInt64) -> [PrimaryAction] {
        guard takesAcknowledgements, let record, let flight, flight.stage != .allowed,
            identity == EpochIdentity(generation: record.generation, sessionNonce: configuration.sessionNonce, epoch: flight.epoch)
        else { return [.report(.staleAcknowledgement(identity))] }
        if detector.suspects(now: now) { mustVerify = true }
        detector.heard(now: now, isBeat: false)
        acknowledged = flight.epoch
        self.flight = nil
        return mustVerify ? verify() : releaseAcknowledged(now: now)
    }

    private mutating func releaseAcknowledged(now: UInt64) -> [PrimaryAction] {
        guard acknowledged > released else { return [] }
        released = acknowledged
        let actions: [PrimaryAction] = [.release(through: released), .report(.committed(epoch: released))]
        if case .switchingOver(let last) = state { return actions + handOver(.switchover(epoch: last), now: now) }
        state = .protected(committed: released)
        return actions + allow(released + 1)
    }

    private var takesAcknowledgements: Bool {
        switch state {
        case .protected, .switchingOver: true
        default: false
        }
    }

    /// Reads the arbiter before anything more is released: the backup may have taken over while we did not look.
    mutating func verify() -> [PrimaryAction] {
        mustVerify = true
        return conversation.isIdle ? [.askArbiter(conversation.read())] : []
    }

    /// The same with a question that is asked from now on: an answer that was under way while we stood still tells of the time before.
    mutating func verifyAnew() -> [PrimaryAction] {
        conversation.close()
        return verify()
    }

    mutating func verified(_ current: ArbiterRecord?, now: UInt64) -> [PrimaryAction] {
        guard current == record else { return lostArbitration(current, now: now) }
        mustVerify = false
        switchover?.recordVerified = true
        return releaseAcknowledged(now: now)
    }
}
