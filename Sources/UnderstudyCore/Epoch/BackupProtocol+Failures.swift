// SPDX-License-Identifier: Apache-2.0

/// Silence, losses and dismissal.
extension BackupProtocol {
    mutating func tick(now: UInt64) -> [BackupAction] {
        if let request = conversation.due(now: now) { return [.askArbiter(request)] }
        guard watchesPrimary else { return [] }
        if isSilent(now: now) { return suspect(.primarySilent) }
        if let closedAt, now >= closedAt &+ configuration.timing.channelClosedGrace { return suspect(.channelClosed) }
        return []
    }

    private func isSilent(now: UInt64) -> Bool {
        if case .eligible = state { return detector.suspects(now: now) }
        return detector.silence(now: now) > configuration.timing.establishingPatience
    }

    private mutating func suspect(_ cause: TakeoverCause) -> [BackupAction] {
        guard case .eligible = state else {
            return [.report(.primarySuspected(cause))] + fail(.primaryLostEarly, telling: "the primary was lost before epoch 1")
        }
        return decide(cause)
    }

    mutating func heartbeat(age: UInt64, now: UInt64) -> [BackupAction] {
        detector.heard(now: now, age: age)
        closedAt = nil
        return []
    }

    /// Where only one direction is irregular, the primary bears more than this host would: it must still be the first to ask in a mere link cut.
    mutating func primaryBears(_ limit: UInt64) -> [BackupAction] {
        detector.bear(min(limit, .max / 10) * 10 / 7)
        return []
    }

    /// A long epoch may fill the link so that heartbeats are late: whoever sends it lives.
    mutating func streamAdvanced(now: UInt64) -> [BackupAction] {
        detector.heard(now: now, isBeat: false)
        return []
    }

    mutating func channelClosed(now: UInt64) -> [BackupAction] {
        switch state {
        case .preparing, .synchronising, .rehearsed: return suspect(.channelClosed)
        case .eligible:
            // A living primary that lost the channel too gets the time to go solo: its guest needs no takeover.
            if closedAt == nil { closedAt = now }
            return []
        case .deciding, .takingOver, .confirming, .active, .handingBack, .dismissed, .failed: return []
        }
    }

    mutating func takeoverRequested(_ request: TakeoverRequest) -> [BackupAction] {
        switch state {
        case .eligible(let committed):
            if case .switchover(let last) = request, last != committed {
                return [.tellPrimary(.takeoverDeclined(reason: "the backup holds epoch \(committed) and not the last one, \(last)"))]
            }
            return decide(.requested(request))
        case .deciding, .takingOver, .handingBack: return []
        case .confirming, .active: return [.tellPrimary(.winnerRuns(generation: record.generation))]
        case .failed(.handedBack): return [.tellPrimary(.handedBack(generation: record.generation))]
        // Another record decides; the primary must read it and not go on alone on our word.
        case .failed(.lostArbitration), .failed(.guestLost): return []
        case .preparing, .synchronising, .rehearsed, .dismissed, .failed:
            return [.tellPrimary(.takeoverDeclined(reason: "the backup holds no complete epoch"))]
        }
    }

    mutating func dismissed(_ reason: DismissalReason) -> [BackupAction] {
        // After the question was put to the arbiter only its answer counts.
        guard watchesPrimary else { return ignored("dismissal") }
        return [.stopAcknowledging, .disposeStandby] + enter(.dismissed(reason))
    }

    mutating func standbyDied(_ reason: String) -> [BackupAction] {
        switch state {
        case .preparing, .synchronising, .rehearsed, .eligible: return fail(.standbyDied(reason: reason), telling: reason)
        case .deciding:
            standbyFailure = reason
            return []
        case .takingOver where !mayHaveRun: return handBack()
        case .takingOver, .confirming, .active:
            // Its output may have been seen, so the primary's older copy must not go on.
            return [.disposeStandby] + enter(.failed(.guestLost(reason: reason)))
        case .handingBack, .dismissed, .failed: return []
        }
    }

    mutating func fail(_ failure: BackupFailure, telling reason: String) -> [BackupAction] {
        [.stopAcknowledging, .tellPrimary(.standbyLost(reason: reason)), .disposeStandby] + enter(.failed(failure))
    }
}
