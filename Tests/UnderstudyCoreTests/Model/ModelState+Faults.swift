// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// Deaths, restarts, and what else goes wrong.
extension ModelState {
    mutating func inject(_ fault: Fault, _ mutation: Mutation?) {
        switch fault {
        case .guestExits:
            guestAlive = false
            send(.guestFailed(.exited), mutation)
        case .guestHangs: send(.guestFailed(.noCutPoint), mutation)
        case .guestShutsDown:
            guestAlive = false
            send(.guestEnded(.shutdown), mutation)
        case .unprotect: send(.unprotectRequested, mutation)
        case .switchover: send(.switchoverRequested(timeout: Self.timing.detection), mutation)
        case .channelCloses:
            toBackup.insert(.event(.primaryChannelClosed))
            send(.backupLost(.channelClosed), mutation)
        case .primaryPauses:
            time[.primary]! += 10 * Self.timing.detection
            send(PrimaryEvent.tick, mutation)
        case .standbyDies:
            (standby, backupRuns, isLoading) = (.none, false, false)
            send(.standbyDied(reason: "test"), mutation)
        case .epochTorn:
            for case .epoch(let identity) in toBackup where identity.epoch == arrived + 1 {
                send(mutation == .takesTornForWhole ? .epochStaged(identity) : .epochTorn(identity, reason: "torn"), mutation)
            }
        case .activationFails: loadingFails = true
        case .primaryHostDies: (primary, saved, guestAlive) = (nil, nil, false)
        case .primaryDaemonRestarts: primary = nil
        case .backupHostDies: (backup, standby, backupRuns, isLoading) = (nil, .none, false, false)
        case .backupDaemonRestarts: backupDaemonDies()
        }
        if primary == nil { dropPrimary() }
        if backup == nil { dropBackup() }
    }

    /// Nobody hears what is still on its way.
    private mutating func dropPrimary() {
        toPrimary = []
        open[.primary] = nil
        forget()
    }

    private mutating func dropBackup() {
        toBackup = []
        open[.backup] = nil
        forget()
    }

    /// A standby that was not loaded ends with the stream that fed it.
    private mutating func backupDaemonDies() {
        if backup?.state == .active { standby = .none }
        backup = nil
        isLoading = false
        if standby == .waiting { standby = .gone }
    }

    mutating func restartPrimary(_ mutation: Mutation?) {
        incarnation += 1
        var restarted = PrimaryProtocol(Self.configuration(incarnation: incarnation), now: time[.primary]!)
        let actions = restarted.reopen(session: saved, now: time[.primary]!)
        primary = restarted
        for action in actions { perform(action, mutation) }
        if mutation == .resumesBeforeConfirmation { (guestStopped, gateClosed) = (false, false) }
        if !guestAlive { send(.guestFailed(.exited), mutation) }
    }

    var remains: TakeoverRecovery.Guest {
        switch standby {
        case .running: .running
        case .loaded: .loaded
        case .none, .waiting, .gone: backupEverRan ? .gone : .neverRan
        }
    }

    /// One step of the daemon that found the standby; whatever is not settled is looked at again.
    mutating func recover() {
        let step = recovery
        recovery = nil
        switch step {
        case .confirm(let proposal): if carry(proposal) { standby = .none }
        case .handBack(let proposal):
            if carry(proposal) {
                toPrimary.insert(.handedBack(generation: proposal.proposed!.generation))
                standby = .none
            }
        case .resume: runGuest()
        case .hold: (backupRuns, standby) = (false, .none)
        case .lookAfter, .lost, .leave: standby = .none
        case .dispose: (backupRuns, standby) = (false, .none)
        case nil: break
        }
    }

    private mutating func carry(_ proposal: ArbiterProposal) -> Bool {
        guard stored == proposal.expected else { return false }
        stored = proposal.proposed
        forget()
        return true
    }
}
