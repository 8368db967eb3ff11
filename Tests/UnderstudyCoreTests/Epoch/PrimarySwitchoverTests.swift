// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

/// The primary's side of a planned move, event by event.
struct PrimarySwitchoverTests {
    private static let second: UInt64 = 1_000_000_000

    /// Protected, epoch 1 committed, and both hosts have found nothing against a switchover.
    private static func prepared() -> PrimaryHarness {
        var harness = PrimaryHarness.protected()
        harness.send(.switchoverRequested(timeout: second))
        harness.settle()
        harness.send(.switchoverReady)
        return harness
    }

    /// The guest is held at the cut of epoch 2.
    private static func held() -> PrimaryHarness {
        var harness = prepared()
        harness.cut(2)
        return harness
    }

    /// The backup was asked to take over.
    private static func handedOver() -> PrimaryHarness {
        var harness = held()
        harness.send(.acknowledged(harness.identity(2)))
        return harness
    }

    private func reports(_ harness: inout PrimaryHarness, _ event: PrimaryEvent) -> [PrimaryReport] {
        harness.now += PrimaryHarness.millisecond
        let actions = harness.primary.handle(event, now: harness.now)
        harness.take(actions)
        return actions.compactMap { if case .report(let report) = $0 { report } else { nil } }
    }

    @Test func `nothing is stopped before both hosts have reached the arbiter`() {
        var harness = PrimaryHarness.protected()
        let actions = harness.send(.switchoverRequested(timeout: Self.second))
        #expect(actions.first == .prepareSwitchover && harness.requests.map(\.operation) == [.read])
        harness.cut(2)
        #expect(harness.send(.acknowledged(harness.identity(2))) == [.release(through: 2), .allowCheckpoint(epoch: 3)])
        var onlyBackup = harness
        onlyBackup.send(.switchoverReady)
        #expect(onlyBackup.send(.epochCut(3)).isEmpty && onlyBackup.primary.state == .protected(committed: 2))
        harness.settle()
        #expect(harness.send(.epochCut(3)).isEmpty && harness.primary.state == .protected(committed: 2))
    }

    @Test func `the guest is held at the last cut, its output leaves, and only then the backup is asked`() {
        var harness = Self.prepared()
        #expect(harness.send(.epochCut(2)) == [.holdGuest])
        #expect(harness.primary.state == .switchingOver(epoch: 2))
        harness.send(.epochHandedToLink(2))
        #expect(
            harness.send(.acknowledged(harness.identity(2)))
                == [.release(through: 2), .holdGuest, .requestTakeover(.switchover(epoch: 2))])
        #expect(harness.primary.allowedCheckpoint == nil)
        #expect(harness.send(.winnerRuns(generation: 2)) == [.endGuest])
        #expect(harness.primary.state == .ended(.takenOver))
    }

    @Test func `an epoch in flight is no last epoch: the next one is`() {
        var harness = PrimaryHarness.protected()
        harness.cut(2)
        harness.send(.switchoverRequested(timeout: Self.second))
        harness.settle()
        harness.send(.switchoverReady)
        #expect(harness.send(.acknowledged(harness.identity(2))) == [.release(through: 2), .allowCheckpoint(epoch: 3)])
        #expect(harness.send(.epochCut(3)) == [.holdGuest])
    }

    @Test func `a machine that is not protected is refused and nothing is asked`() {
        let idle = PrimaryHarness()
        var synchronising = PrimaryHarness()
        synchronising.take(synchronising.primary.begin(now: synchronising.now))
        synchronising.settle()
        var rehearsed = synchronising
        rehearsed.send(.rehearsed)
        var first = rehearsed
        first.cut(1)
        var solo = PrimaryHarness.protected()
        solo.send(.backupLost(.channelClosed))
        solo.settle()
        for var harness in [idle, synchronising, rehearsed, first, solo] {
            let state = harness.primary.state
            let said = reports(&harness, .switchoverRequested(timeout: Self.second))
            #expect(said.contains { if case .switchoverRefused = $0 { true } else { false } }, "\(state): \(said)")
            #expect(harness.requests.isEmpty && harness.primary.state == state)
        }
    }

    @Test func `a second request is refused and the first one goes on`() {
        var harness = Self.prepared()
        let said = reports(&harness, .switchoverRequested(timeout: Self.second))
        #expect(said == [.switchoverRefused(reason: "a switchover is under way already")])
        #expect(harness.send(.epochCut(2)) == [.holdGuest])
    }

    @Test func `a silent arbiter or an unfit backup calls it off, and epochs go on`() {
        var silent = PrimaryHarness.protected()
        silent.send(.switchoverRequested(timeout: Self.second))
        let number = silent.requests.removeFirst().number
        #expect(
            reports(&silent, .arbiterRead(number: number, .unknown(reason: "x"))).last
                == .switchoverCancelled(reason: "the arbiter does not answer: x"))
        var unfit = PrimaryHarness.protected()
        unfit.send(.switchoverRequested(timeout: Self.second))
        #expect(reports(&unfit, .switchoverDeclined(reason: "y")) == [.switchoverCancelled(reason: "y")])
        unfit.settle()
        for var harness in [silent, unfit] {
            harness.send(.switchoverReady)
            #expect(harness.send(.epochCut(2)).isEmpty)
            #expect(harness.send(.acknowledged(harness.identity(2))) == [.release(through: 2), .allowCheckpoint(epoch: 3)])
        }
    }

    @Test func `without a cut in time nothing happened`() {
        var harness = Self.prepared()
        for _ in 0..<120 {
            harness.send(.heartbeat(.eligible(committed: 1)))
            harness.send(.tick, after: 9)
        }
        #expect(harness.primary.switchover == nil && harness.primary.state == .protected(committed: 1))
        #expect(harness.send(.epochCut(2)).isEmpty)
    }

    @Test func `a held guest runs on from the very cut when its acknowledgement stays out, and stays protected`() {
        var harness = Self.held()
        var actions: [PrimaryAction] = []
        for _ in 0..<120 {
            harness.send(.heartbeat(.eligible(committed: 1)))
            actions += harness.send(.tick, after: 9)
        }
        #expect(actions == [.resumeGuest] && harness.primary.state == .protected(committed: 1))
        #expect(harness.send(.acknowledged(harness.identity(2))) == [.release(through: 2), .allowCheckpoint(epoch: 3)])
        #expect(harness.send(.epochCut(3)).isEmpty)
    }

    @Test func `once the backup was asked only a won decision lets the guest go on`() throws {
        var harness = Self.handedOver()
        for _ in 0..<120 {
            harness.send(.heartbeat(.deciding))
            #expect(!harness.send(.tick, after: 9).contains(.resumeGuest))
            if harness.primary.state == .deciding { break }
            harness.settle()
        }
        #expect(harness.primary.state == .deciding)
        var beaten = harness
        #expect(harness.settle() == [.openGate, .resumeGuest, .dismissBackup(.wentSolo)])
        #expect(harness.primary.state == .solo && harness.stored?.generation == 2)
        try beaten.takeOver()
        #expect(beaten.settle() == [.holdGuest] && beaten.primary.state == .holding)
    }

    @Test func `a lost backup is left at once, by a decision`() {
        for (var harness, loss) in [
            (Self.held(), BackupLoss.channelClosed), (Self.handedOver(), .silent), (Self.handedOver(), .standbyDied),
        ] {
            harness.send(.backupLost(loss))
            #expect(harness.primary.state == .deciding)
            #expect(harness.settle() == [.openGate, .resumeGuest, .dismissBackup(.wentSolo)])
        }
    }

    @Test func `a declined takeover lets the guest go on here`() {
        var harness = Self.handedOver()
        harness.send(.takeoverDeclined(reason: "x"))
        #expect(harness.settle() == [.openGate, .resumeGuest, .dismissBackup(.wentSolo)])
    }

    @Test func `a switchover that is handed back resumes the guest`() throws {
        var harness = Self.handedOver()
        try harness.takeOver()
        let taken = try #require(harness.stored)
        harness.send(.tick, after: 200)
        #expect(harness.settle() == [.holdGuest])
        harness.stored = ArbiterProposal.handBack(takenOver: taken, to: "a", nonce: "h").proposed
        harness.send(.handedBack(generation: 3))
        #expect(harness.settle().suffix(3) == [.openGate, .resumeGuest, .dismissBackup(.wentSolo)])
        #expect(harness.primary.state == .solo && harness.stored?.owner == "a" && harness.stored?.confirmed == true)
    }

    @Test func `a woken primary asks the arbiter before it releases the last epoch`() throws {
        var harness = Self.held()
        let actions = harness.send(.acknowledged(harness.identity(2)), after: 1000)
        #expect(!actions.contains(.release(through: 2)))
        var taken = harness
        #expect(harness.settle() == [.release(through: 2), .holdGuest, .requestTakeover(.switchover(epoch: 2))])
        try taken.takeOver()
        #expect(taken.settle() == [.holdGuest] && taken.primary.state == .holding)
    }

    @Test func `a QEMU that dies while it is held is left to the backup`() {
        for var harness in [Self.held(), Self.handedOver()] {
            harness.send(.guestFailed(.exited))
            #expect(harness.primary.state == .handingOver(.guestFailed(.exited)))
            for _ in 0..<150 {
                harness.send(.heartbeat(.eligible(committed: 2)))
                harness.send(.tick, after: 9)
                #expect(harness.requests.allSatisfy { $0.operation == .read })
                harness.settle()
            }
        }
    }

    @Test func `unprotect during a switchover leaves the guest running here`() {
        for var harness in [Self.held(), Self.handedOver()] {
            harness.send(.unprotectRequested)
            #expect(harness.settle() == [.openGate, .resumeGuest, .dismissBackup(.unprotected)])
            #expect(harness.primary.state == .ended(.unprotected) && harness.stored == nil)
        }
    }

    @Test func `a daemon that comes back alone lets a held guest run`() {
        let session = ArbiterRecord(generation: 4, owner: "a", backup: "b", nonce: "s", confirmed: true)
        var harness = PrimaryHarness(stored: session)
        harness.take(harness.primary.reopen(session: session, now: harness.now))
        #expect(harness.settle() == [.openGate, .resumeGuest, .dismissBackup(.wentSolo)])
    }
}
