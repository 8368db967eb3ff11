// SPDX-License-Identifier: Apache-2.0

/// Preparation and epochs, until the backup decides.
extension BackupProtocol {
    mutating func prepared() -> [BackupAction] {
        state == .preparing ? enter(.synchronising) : ignored("prepared standby")
    }

    mutating func rehearsed() -> [BackupAction] {
        state == .synchronising ? enter(.rehearsed) : ignored("rehearsal")
    }

    mutating func rehearsalFailed(_ reason: String) -> [BackupAction] {
        switch state {
        case .preparing, .synchronising, .rehearsed: fail(.rehearsalFailed(reason: reason), telling: "rehearsal failed: \(reason)")
        default: ignored("failed rehearsal")
        }
    }

    mutating func staged(_ identity: EpochIdentity, now: UInt64) -> [BackupAction] {
        guard isOurs(identity) else {
            return [.discard(identity), .report(.epochRefused(identity, reason: "it belongs to another session"))]
        }
        switch state {
        case .rehearsed: return staged(identity, after: 0, now: now)
        case .eligible(let committed): return staged(identity, after: committed, now: now)
        case .preparing, .synchronising:
            return [.discard(identity)] + fail(.protocolViolation("epoch before the rehearsal"), telling: "epoch before the rehearsal")
        case .deciding, .takingOver, .confirming, .active, .handingBack, .dismissed, .failed: return [.discard(identity)]
        }
    }

    private mutating func staged(_ identity: EpochIdentity, after committed: UInt64, now: UInt64) -> [BackupAction] {
        detector.heard(now: now, isBeat: false)
        if identity.epoch >= 1, identity.epoch <= committed { return [.discard(identity), .acknowledge(identity)] }
        guard identity.epoch == committed + 1 else {
            return [.discard(identity)] + refuse(identity, reason: "it does not follow epoch \(committed)")
        }
        state = .eligible(committed: identity.epoch)
        let report: [BackupAction] = committed == 0 ? [.report(.stateChanged(state))] : []
        return [.acknowledge(identity), .apply(identity)] + report
    }

    mutating func torn(_ identity: EpochIdentity, _ reason: String) -> [BackupAction] {
        let discarded: [BackupAction] = [.discard(identity)]
        guard isOurs(identity) else { return discarded }
        switch state {
        case .rehearsed, .eligible: return discarded + refuse(identity, reason: reason)
        default: return discarded
        }
    }

    func applied(_ epoch: UInt64) -> [BackupAction] {
        guard let committed, epoch > committed else { return [] }
        return ignored("application of epoch \(epoch)")
    }

    mutating func outOfMemory() -> [BackupAction] {
        switch state {
        case .preparing, .synchronising: return fail(.standbyDied(reason: "out of memory"), telling: "out of memory")
        case .rehearsed: return refuse(next(after: 0), reason: "out of memory")
        case .eligible(let committed):
            // What was acknowledged is still here, so this host stays eligible until the primary has won the next generation.
            return refuse(next(after: committed), reason: "out of memory")
        case .deciding, .takingOver, .confirming, .active, .handingBack, .dismissed, .failed: return []
        }
    }

    private func refuse(_ identity: EpochIdentity, reason: String) -> [BackupAction] {
        [.refuse(identity, reason: reason), .report(.epochRefused(identity, reason: reason))]
    }

    private func next(after committed: UInt64) -> EpochIdentity {
        EpochIdentity(generation: configuration.record.generation, sessionNonce: configuration.sessionNonce, epoch: committed + 1)
    }

    private func isOurs(_ identity: EpochIdentity) -> Bool {
        identity.generation == configuration.record.generation && identity.sessionNonce == configuration.sessionNonce
    }
}
