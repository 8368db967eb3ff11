// SPDX-License-Identifier: Apache-2.0

/// Silence, losses and ends.
extension PrimaryProtocol {
    mutating func observe(now: UInt64) -> [PrimaryAction] {
        guard case .ownPause(let pause) = detector.observe(now: now), isGated else { return [] }
        let report: [PrimaryAction] = [.report(.ownPause(nanoseconds: pause))]
        if case .handingOver = state { return report }
        return report + verifyAnew()
    }

    mutating func tick(now: UInt64) -> [PrimaryAction] {
        if let request = conversation.due(now: now) { return [.askArbiter(request)] + watch(now: now) }
        return watch(now: now)
    }

    private mutating func watch(now: UInt64) -> [PrimaryAction] {
        switch state {
        case .synchronising:
            let patience = configuration.timing.establishingPatience
            return detector.silence(now: now) > patience ? backupLost(.silent, now: now) : []
        case .rehearsed, .protected, .switchingOver:
            return detector.suspects(now: now) ? backupLost(.silent, now: now) : watchSwitchover(now: now)
        case .handingOver(let request): return watchTakeover(request, now: now)
        case .holding: return poll(now: now)
        case .idle, .registering, .deciding, .solo, .confirming, .ending, .ended: return []
        }
    }

    private mutating func watchTakeover(_ request: TakeoverRequest, now: UInt64) -> [PrimaryAction] {
        if let soloAt, now >= soloAt { return goSolo() }
        var actions = watchSwitchover(now: now)
        if soloAt == nil, request.mayRevive, detector.suspects(now: now) { actions += backupLost(.silent, now: now) }
        guard case .handingOver = state, now >= pollAt else { return actions }
        return actions + [.requestTakeover(request)] + poll(now: now)
    }

    private mutating func poll(now: UInt64) -> [PrimaryAction] {
        guard now >= pollAt, conversation.isIdle else { return [] }
        pollAt = now &+ configuration.timing.arbiterPoll
        return [.askArbiter(conversation.read())]
    }

    mutating func heartbeat(_ condition: BackupCondition, now: UInt64) -> [PrimaryAction] {
        if isGated, detector.suspects(now: now) { mustVerify = true }
        detector.heard(now: now)
        switch (state, condition) {
        case (.handingOver, .unable): return declined("the backup holds no state")
        case (.synchronising, .unable), (.rehearsed, .unable), (.protected, .unable), (.switchingOver, .unable):
            return backupLost(.standbyDied, now: now)
        case (.rehearsed, .deciding), (.rehearsed, .takingOver), (.rehearsed, .active): return backupLost(.suspectsPrimary, now: now)
        case (.protected, .deciding), (.protected, .takingOver), (.protected, .active): return backupLost(.suspectsPrimary, now: now)
        case (.switchingOver, .deciding), (.switchingOver, .takingOver), (.switchingOver, .active):
            return backupLost(.suspectsPrimary, now: now)
        case (.rehearsed, _), (.protected, _), (.switchingOver, _): return mustVerify ? verify() : []
        case (.handingOver, _):
            soloAt = nil
            return []
        default: return []
        }
    }

    mutating func backupLost(_ loss: BackupLoss, now: UInt64) -> [PrimaryAction] {
        let report: [PrimaryAction] = [.report(.backupLost(loss))]
        switch state {
        case .registering, .synchronising: return report + [.dismissBackup(.cancelled)] + enter(.ended(.cancelled))
        case .rehearsed, .protected, .switchingOver: return report + goSolo()
        // Our guest is as good as the backup's, so whoever wins goes on at once.
        case .handingOver(.switchover): return report + goSolo()
        case .handingOver(.guestFailed(let failure)):
            switch loss {
            case .silent, .channelClosed, .suspectsPrimary:
                // A backup that is only cut off from us may be taking over right now, and its guest is better than our hung one.
                if failure.mayRevive, soloAt == nil { soloAt = now &+ configuration.timing.hungGuestPatience }
                return report
            case .standbyDied, .refusedEpoch, .stagingLimit, .rehearsalFailed: return report + declined("the backup lost its standby")
            }
        case .idle, .deciding, .solo, .holding, .confirming, .ending, .ended: return []
        }
    }

    mutating func guestFailed(_ failure: GuestFailure, now: UInt64) -> [PrimaryAction] {
        let report: [PrimaryAction] = [.report(.guestFailed(failure))]
        if !failure.mayRevive { guest = .lost }
        switch state {
        case .registering, .synchronising:
            let end = failure.mayRevive ? enter(.ended(.cancelled)) : state == .registering ? enter(.ended(.guestLost)) : end(.guestLost)
            return report + [.dismissBackup(failure.mayRevive ? .cancelled : .guestEnded)] + end
        case .rehearsed, .protected, .switchingOver: return report + handOver(.guestFailed(failure), now: now)
        case .handingOver(let before) where before.mayRevive && !failure.mayRevive:
            soloAt = nil
            return report + enter(.handingOver(.guestFailed(failure)))
        case .solo: return failure.mayRevive ? report : report + end(.guestLost)
        case .handingOver, .deciding, .holding, .confirming, .ending: return report
        case .idle, .ended: return []
        }
    }

    mutating func handOver(_ request: TakeoverRequest, now: UInt64) -> [PrimaryAction] {
        flight = nil
        conversation.close()
        guestHeld = true
        pollAt = now &+ configuration.timing.arbiterPoll
        return [.holdGuest] + enter(.handingOver(request)) + [.requestTakeover(request)]
    }

    mutating func declined(_ reason: String) -> [PrimaryAction] {
        guard case .handingOver(let request) = state else { return [] }
        return [.report(.takeoverDeclined(reason: reason))] + (request.mayRevive ? goSolo() : end(.guestLost))
    }

    mutating func guestEnded(_ end: GuestEnd) -> [PrimaryAction] {
        let report: [PrimaryAction] = [.report(.guestEnded(end))]
        guard guest == .present else { return [] }
        guest = .ended
        switch state {
        case .registering: return report + [.dismissBackup(.guestEnded)] + enter(.ended(.guestEnded))
        case .synchronising: return report + [.dismissBackup(.guestEnded)] + self.end(.guestEnded)
        case .rehearsed, .protected, .switchingOver, .solo: return report + self.end(.guestEnded)
        case .deciding, .handingOver, .holding, .confirming, .ending: return report
        case .idle, .ended: return []
        }
    }

    mutating func unprotect() -> [PrimaryAction] {
        switch state {
        case .idle: return enter(.ended(.cancelled))
        case .registering: return [.dismissBackup(.cancelled)] + enter(.ended(.cancelled))
        case .synchronising: return [.dismissBackup(.unprotected)] + end(.unprotected)
        case .rehearsed, .protected, .switchingOver:
            wantedEnd = .unprotected
            return goSolo(as: .ending)
        case .handingOver(let request):
            guard request.mayRevive else { return end(.guestLost) }
            wantedEnd = .unprotected
            return goSolo()
        case .deciding:
            wantedEnd = .unprotected
            return []
        case .solo: return end(.unprotected)
        case .holding where guest == .lost && record != nil:
            // Nothing is left here that could go on, so the operator may give the machine up; the compare-and-set spares a winner.
            return end(.guestLost)
        case .holding, .confirming, .ending, .ended: return ignored("unprotect")
        }
    }
}
