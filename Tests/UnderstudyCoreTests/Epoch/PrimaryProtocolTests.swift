// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

struct PrimaryProtocolTests {
    @Test func `protection creates the record, permits the backup and then prepares it`() {
        var harness = PrimaryHarness()
        harness.take(harness.primary.begin(now: harness.now))
        let actions = harness.settle()
        #expect(harness.primary.state == .synchronising)
        #expect(harness.stored?.backup == "b" && harness.stored?.generation == 1)
        #expect(actions.last == .prepareBackup(harness.primary.record!))
    }

    @Test func `another owner's record refuses protection`() {
        var harness = PrimaryHarness(stored: ArbiterRecord(generation: 3, owner: "c", backup: nil, nonce: "n", confirmed: true))
        harness.take(harness.primary.begin(now: harness.now))
        harness.settle()
        #expect(harness.primary.state == .ended(.refused))
    }

    @Test func `only the acknowledgement of the epoch in flight releases`() {
        var harness = PrimaryHarness.protected(epochs: 2)
        #expect(harness.send(.acknowledged(harness.identity(3))).isEmpty)
        harness.cut(3)
        for stale in [harness.identity(2), harness.identity(4), harness.identity(3, generation: 2), harness.identity(3, nonce: 8)] {
            #expect(harness.send(.acknowledged(stale)).isEmpty)
        }
        #expect(harness.send(.acknowledged(harness.identity(3))) == [.release(through: 3), .allowCheckpoint(epoch: 4)])
        #expect(harness.send(.acknowledged(harness.identity(3))).isEmpty)
    }

    @Test func `one epoch is in flight`() {
        var harness = PrimaryHarness.protected()
        #expect(harness.primary.allowedCheckpoint == 2)
        harness.cut(2)
        #expect(harness.primary.allowedCheckpoint == nil)
        #expect(harness.send(.epochCut(3)).isEmpty)
        harness.send(.acknowledged(harness.identity(2)))
        #expect(harness.send(.checkpointAbandoned(3)) == [.allowCheckpoint(epoch: 3)])
    }

    @Test func `a woken primary releases only after the arbiter says that nothing happened`() throws {
        var harness = PrimaryHarness.protected()
        harness.cut(2)
        let actions = harness.send(.acknowledged(harness.identity(2)), after: 1000)
        #expect(!actions.contains(.release(through: 2)) && harness.requests.map(\.operation) == [.read])
        var taken = harness
        #expect(harness.settle() == [.release(through: 2), .allowCheckpoint(epoch: 3)])
        try taken.takeOver()
        #expect(taken.settle() == [.holdGuest])
        #expect(taken.primary.state == .holding)
    }

    @Test func `an answer from before a pause does not tell a woken primary that nothing happened`() throws {
        var harness = PrimaryHarness.protected()
        harness.cut(2)
        // The arbiter was asked and has answered; the answer waits while this host stands still and the backup takes over.
        harness.send(.tick, after: 80)
        harness.send(.acknowledged(harness.identity(2)))
        let before = try #require(harness.requests.first)
        let answer = PrimaryEvent.arbiterRead(number: before.number, .record(harness.stored))
        harness.requests.removeAll()
        try harness.takeOver()
        #expect(!harness.send(answer, after: 10_000).contains(.release(through: 2)))
        #expect(harness.requests.map(\.operation) == [.read])
        #expect(harness.settle() == [.holdGuest])
    }

    @Test func `an unreachable arbiter keeps a woken primary from releasing`() {
        var harness = PrimaryHarness.protected()
        harness.cut(2)
        harness.send(.acknowledged(harness.identity(2)), after: 1000)
        for _ in 0..<5 {
            let number = harness.requests.removeFirst().number
            #expect(harness.send(.arbiterRead(number: number, .unknown(reason: "x"))).isEmpty)
            for _ in 0..<6 where harness.requests.isEmpty {
                harness.send(.heartbeat(.eligible(committed: 2)))
                harness.send(.tick, after: 10)
            }
        }
        #expect(harness.primary.released == 1)
    }

    @Test func `a backup lost while synchronising only cancels`() {
        var harness = PrimaryHarness()
        harness.take(harness.primary.begin(now: harness.now))
        harness.settle()
        #expect(harness.send(.backupLost(.channelClosed)) == [.dismissBackup(.cancelled)])
        #expect(harness.primary.state == .ended(.cancelled) && harness.requests.isEmpty)
    }

    @Test func `a silent backup is left only by a won decision`() {
        var harness = PrimaryHarness.protected()
        for _ in 0..<10 { #expect(!harness.send(.tick, after: 10).contains(.openGate)) }
        harness.send(.tick, after: 10)
        #expect(harness.primary.state == .deciding)
        #expect(harness.settle() == [.openGate, .dismissBackup(.wentSolo)])
        #expect(harness.primary.state == .solo && harness.stored?.generation == 2)
    }

    @Test func `a lost reply keeps the gate closed until the same proposal is settled`() {
        var harness = PrimaryHarness.protected()
        harness.send(.backupLost(.channelClosed))
        let first = harness.requests.removeFirst()
        #expect(harness.send(.arbiterAnswered(number: first.number, .unknown(reason: "x"))).isEmpty)
        #expect(harness.send(.tick, after: 10).isEmpty)
        harness.send(.tick, after: 60)
        #expect(harness.requests.map(\.operation) == [first.operation])
        if case .compareAndSet(let proposal) = first.operation { harness.stored = proposal.proposed }
        #expect(harness.settle().contains(.openGate))
    }

    @Test func `the loser holds its guest until the winner's record is confirmed, then ends it`() throws {
        var harness = PrimaryHarness.protected()
        try harness.takeOver()
        harness.send(.backupLost(.channelClosed))
        #expect(harness.settle() == [.holdGuest])
        harness.send(.tick, after: 200)
        #expect(harness.settle().isEmpty)
        harness.stored?.confirmed = true
        harness.send(.tick, after: 200)
        #expect(harness.settle() == [.endGuest])
        #expect(harness.primary.state == .ended(.takenOver))
    }

    @Test func `a hand-back is believed only from the record and confirmed before the gate opens`() throws {
        var harness = PrimaryHarness.protected()
        try harness.takeOver()
        let taken = try #require(harness.stored)
        harness.send(.backupLost(.channelClosed))
        harness.settle()
        harness.send(.handedBack(generation: 3))
        #expect(harness.settle().isEmpty && harness.primary.state == .holding)
        harness.stored = ArbiterProposal.handBack(takenOver: taken, to: "a", nonce: "h").proposed
        harness.send(.handedBack(generation: 3))
        #expect(harness.settle().suffix(3) == [.openGate, .resumeGuest, .dismissBackup(.wentSolo)])
        #expect(harness.primary.state == .solo && harness.stored?.confirmed == true && harness.stored?.owner == "a")
    }

    @Test func `this host's own later takeover is no hand-back`() throws {
        var harness = PrimaryHarness.protected()
        try harness.takeOver()
        harness.send(.backupLost(.channelClosed))
        harness.settle()
        harness.stored = ArbiterRecord(generation: 3, owner: "a", backup: nil, nonce: "other/x", confirmed: false)
        harness.send(.tick, after: 200)
        #expect(harness.settle().isEmpty && harness.primary.state == .holding)
        harness.stored?.confirmed = true
        harness.send(.tick, after: 200)
        #expect(harness.settle() == [.endGuest])
    }

    @Test func `a failed guest is handed over and never decided by the primary itself`() {
        var harness = PrimaryHarness.protected()
        #expect(harness.send(.guestFailed(.exited)) == [.holdGuest, .requestTakeover(.guestFailed(.exited))])
        for _ in 0..<100 {
            harness.send(.tick, after: 50)
            #expect(harness.requests.allSatisfy { $0.operation == .read })
            harness.settle()
        }
        #expect(harness.send(.winnerRuns(generation: 2)) == [.endGuest])
    }

    @Test func `a declined takeover lets a hung guest go on alone and buries a dead one`() {
        var hung = PrimaryHarness.protected()
        hung.send(.guestFailed(.noCutPoint))
        hung.send(.takeoverDeclined(reason: "x"))
        #expect(hung.settle() == [.openGate, .resumeGuest, .dismissBackup(.wentSolo)])
        var dead = PrimaryHarness.protected()
        dead.send(.guestFailed(.exited))
        dead.send(.takeoverDeclined(reason: "x"))
        #expect(dead.settle() == [.endGuest, .dismissBackup(.guestEnded)])
        #expect(dead.primary.state == .ended(.guestLost) && dead.stored == nil)
    }

    @Test func `a shutdown deletes the record before the last frames leave`() {
        var harness = PrimaryHarness.protected()
        #expect(!harness.send(.guestEnded(.shutdown)).contains(.openGate))
        #expect(harness.settle() == [.openGate, .dismissBackup(.guestEnded)])
        #expect(harness.primary.state == .ended(.guestEnded) && harness.stored == nil)
    }

    @Test func `unprotect opens the gate by a decision and a late cut opens it again`() {
        var harness = PrimaryHarness.protected()
        #expect(!harness.send(.unprotectRequested).contains(.openGate))
        let actions = harness.settle()
        #expect(actions.prefix(2) == [.openGate, .dismissBackup(.unprotected)])
        #expect(harness.primary.state == .ended(.unprotected) && harness.stored == nil)
        #expect(harness.send(.epochCut(2)) == [.openGate])
    }

    @Test func `a restarted daemon with a dead guest does not shut out its backup`() {
        let session = ArbiterRecord(generation: 4, owner: "a", backup: "b", nonce: "s", confirmed: true)
        var harness = PrimaryHarness(stored: session)
        harness.take(harness.primary.reopen(session: session, now: harness.now))
        harness.send(.guestFailed(.exited))
        #expect(harness.settle() == [.holdGuest])
        #expect(harness.primary.state == .holding && harness.stored == session)
    }

    @Test func `the operator may give up a machine whose QEMU is gone, and spares a winner`() throws {
        let session = ArbiterRecord(generation: 4, owner: "a", backup: "b", nonce: "s", confirmed: true)
        var harness = PrimaryHarness(stored: session)
        harness.take(harness.primary.reopen(session: session, now: harness.now))
        harness.send(.guestFailed(.exited))
        harness.settle()
        var beaten = harness
        harness.send(.unprotectRequested)
        harness.settle()
        #expect(harness.primary.state == .ended(.guestLost) && harness.stored == nil)
        try beaten.takeOver()
        beaten.send(.unprotectRequested)
        beaten.settle()
        #expect(beaten.stored?.owner == "b")
    }

    @Test func `a restarted daemon opens the gate only for its own generation`() throws {
        let session = ArbiterRecord(generation: 4, owner: "a", backup: "b", nonce: "s", confirmed: true)
        func reopen(_ stored: ArbiterRecord?, released: Bool = false) -> (PrimaryState, [PrimaryAction]) {
            var harness = PrimaryHarness(stored: stored)
            harness.take(harness.primary.reopen(session: session, wasReleased: released, now: harness.now))
            let actions = harness.settle().filter { if case .askArbiter = $0 { false } else { true } }
            return (harness.primary.state, actions)
        }
        // The daemon before may have died while it held the guest.
        #expect(reopen(session) == (.solo, [.openGate, .resumeGuest, .dismissBackup(.wentSolo)]))
        #expect(reopen(nil) == (.holding, [.holdGuest]))
        let taken = try #require(ArbiterProposal.takeOver(committed: session, by: "b", nonce: "t").proposed)
        #expect(reopen(taken) == (.holding, [.holdGuest]))
        #expect(reopen(ArbiterProposal.confirm(taken).proposed) == (.ended(.takenOver), [.holdGuest, .endGuest]))
        let returned = try #require(ArbiterProposal.handBack(takenOver: taken, to: "a", nonce: "h").proposed)
        #expect(reopen(returned).0 == .solo)
        #expect(reopen(ArbiterProposal.confirm(returned).proposed).0 == .solo)
        // Protection had been ended at the arbiter, and only the gate's opening had failed; another host's word counts all the same.
        #expect(reopen(nil, released: true) == (.ended(.unprotected), [.openGate, .resumeGuest]))
        #expect(reopen(taken, released: true) == (.holding, [.holdGuest]))
        #expect(reopen(session, released: true).0 == .solo)
    }

    @Test func `the gate may be opened from the won compare-and-set on, until the guest is lost`() {
        var harness = PrimaryHarness.protected()
        #expect(!harness.primary.mayOpenGate)
        harness.send(.unprotectRequested)
        #expect(!harness.primary.mayOpenGate)
        harness.settle()
        #expect(harness.primary.state == .ended(.unprotected) && harness.primary.mayOpenGate)
        var dying = PrimaryHarness.protected()
        dying.send(.backupLost(.silent))
        dying.settle()
        #expect(dying.primary.state == .solo && dying.primary.mayOpenGate)
        dying.send(.guestFailed(.exited))
        #expect(!dying.primary.mayOpenGate)
    }
}

extension PrimaryProtocolTests {
    @Test func `a host that runs its guest alone knows its own later decisions again`() {
        let solo = ArbiterRecord(generation: 5, owner: "a", backup: nil, nonce: "n", confirmed: true)
        func reopen(_ stored: ArbiterRecord) -> PrimaryState {
            var harness = PrimaryHarness(stored: stored)
            harness.take(harness.primary.reopen(session: solo, now: harness.now))
            harness.settle()
            return harness.primary.state
        }
        var permitted = solo
        (permitted.backup, permitted.nonce) = ("b", "s")
        #expect(reopen(permitted) == .solo)
        var taken = ArbiterProposal.takeOver(committed: permitted, by: "b", nonce: "t").proposed!
        #expect(reopen(taken) == .holding)
        (taken.owner, taken.generation, taken.confirmed) = ("a", 5, true)
        #expect(reopen(taken) == .ended(.takenOver))
        // Two decisions later it is somebody else's history: the daemon must have noted the first.
        var later = solo
        (later.generation, later.nonce) = (7, "m")
        #expect(reopen(later) == .holding)
    }
}

/// Tuples cannot conform to Equatable.
func == (left: (PrimaryState, [PrimaryAction]), right: (PrimaryState, [PrimaryAction])) -> Bool {
    left.0 == right.0 && left.1 == right.1
}
