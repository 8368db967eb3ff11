// SPDX-License-Identifier: Apache-2.0

@testable import UnderstudyCore

/// The arbiter, its unreliable replies, and the faults.
extension Simulation {
    mutating func ask(_ request: ArbiterRequest, from node: Node) {
        if case .compareAndSet(let proposal) = request.operation, pretends(proposal, node) {
            reply(.won(proposal.proposed), to: request, node, after: 1)
            return
        }
        schedule(.world, after: 1 + random.below(4), .decide(request, node))
    }

    private func pretends(_ proposal: ArbiterProposal, _ node: Node) -> Bool {
        switch mutation {
        case .soloWithoutArbiter: node == .primary && proposal.proposed?.backup == nil && proposal.expected?.backup != nil
        case .takeoverWithoutArbiter: node == .backup && proposal.proposed?.confirmed == false
        default: false
        }
    }

    mutating func decide(_ request: ArbiterRequest, _ node: Node) {
        let unreachable = (arbiterCutUntil[node] ?? 0) > now
        let fate = unreachable ? 0 : random.below(20)
        guard case .compareAndSet(let proposal) = request.operation else {
            if fate == 0 { fail(request, node) } else { reply(reading: .record(stored), to: request, node) }
            return
        }
        switch fate {
        case 0: fail(request, node)
        case 1:
            _ = compareAndSet(proposal)
            fail(request, node)
        case 2:
            // Carried out long after the asker has given up waiting.
            schedule(.world, after: random.below(400), .late(proposal))
            fail(request, node)
        default:
            let answer = compareAndSet(proposal)
            reply(answer, to: request, node, after: random.below(4))
        }
    }

    mutating func compareAndSet(_ proposal: ArbiterProposal) -> ArbiterAnswer {
        guard stored == proposal.expected else { return .lost(current: stored) }
        stored = proposal.proposed
        if stored?.owner == "b", stored?.confirmed == false, backupWonAt == nil { backupWonAt = now }
        return .won(stored)
    }

    private mutating func fail(_ request: ArbiterRequest, _ node: Node) {
        if mutation == .lostReplyCountsAsWon, case .compareAndSet(let proposal) = request.operation {
            reply(.won(proposal.proposed), to: request, node, after: 50)
        } else if case .read = request.operation {
            reply(reading: .unknown(reason: "lost"), to: request, node)
        } else {
            reply(.unknown(reason: "lost"), to: request, node, after: 50)
        }
    }

    private mutating func reply(_ answer: ArbiterAnswer, to request: ArbiterRequest, _ node: Node, after: UInt64) {
        let work: Work =
            node == .primary
            ? .primary(.arbiterAnswered(number: request.number, answer)) : .backup(.arbiterAnswered(number: request.number, answer))
        schedule(node, after: after, work)
    }

    private mutating func reply(reading: ArbiterReading, to request: ArbiterRequest, _ node: Node) {
        let work: Work =
            node == .primary
            ? .primary(.arbiterRead(number: request.number, reading)) : .backup(.arbiterRead(number: request.number, reading))
        schedule(node, after: random.below(4), work)
    }

    mutating func inject(_ fault: Fault) {
        let until = now + (20 + random.below(700)) * Self.millisecond
        switch fault {
        case .linkCut:
            linkCutUntil[.primary] = until
            linkCutUntil[.backup] = until
        case .cutToBackup: linkCutUntil[.backup] = until
        case .cutToPrimary: linkCutUntil[.primary] = until
        case .channelCloses:
            schedule(.primary, after: random.below(30), .primary(.backupLost(.channelClosed)))
            schedule(.backup, after: random.below(30), .backup(.primaryChannelClosed))
        case .primaryFreezes: frozenUntil[.primary] = until
        case .backupFreezes: frozenUntil[.backup] = until
        case .primaryLosesArbiter: arbiterCutUntil[.primary] = until
        case .backupLosesArbiter: arbiterCutUntil[.backup] = until
        case .activationFails: activationFails = true
        case .epochTorn: tearNext = true
        case .standbyDiesLate: diesWhileActivating = true
        case .blipOfASecond, .blipOfTwoSeconds:
            let end = now + (fault == .blipOfASecond ? 1000 : 2000) * Self.millisecond
            (linkCutUntil[.primary], linkCutUntil[.backup]) = (end, end)
        case .primarySleepsASecond: frozenUntil[.primary] = now + 1000 * Self.millisecond
        case .backupSleepsASecond: frozenUntil[.backup] = now + 1000 * Self.millisecond
        case .guestExits:
            guestAlive = false
            schedule(.primary, after: 0, .primary(.guestFailed(.exited)))
        case .guestHangs: schedule(.primary, after: 0, .primary(.guestFailed(.noCutPoint)))
        case .guestShutsDown:
            guestAlive = false
            schedule(.primary, after: 0, .primary(.guestEnded(.shutdown)))
        case .switchover: schedule(.primary, after: 0, .primary(.switchoverRequested(timeout: 2000 * Self.millisecond)))
        case .hastySwitchover: schedule(.primary, after: 0, .primary(.switchoverRequested(timeout: random.below(120) * Self.millisecond)))
        case .unprotect: schedule(.primary, after: 0, .primary(.unprotectRequested))
        case .standbyDies:
            backupRuns = false
            schedule(.backup, after: 0, .backup(.standbyDied(reason: "test")))
        case .backupOutOfMemory: schedule(.backup, after: 0, .backup(.outOfMemory))
        }
    }
}
