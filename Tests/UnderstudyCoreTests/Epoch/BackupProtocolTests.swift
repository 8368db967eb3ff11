// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

struct BackupProtocolTests {
    static let session = ArbiterRecord(generation: 1, owner: "a", backup: "b", nonce: "s", confirmed: true)
    static let millisecond: UInt64 = 1_000_000

    struct Harness {
        var now: UInt64 = 5_000_000_000
        var backup: BackupProtocol
        var request: ArbiterRequest?

        init(epochs: UInt64 = 0) {
            let configuration = BackupConfiguration(host: "b", record: session, sessionNonce: 7, nonceSeed: (1, 2))
            backup = BackupProtocol(configuration, now: now)
            send(.standbyPrepared)
            send(.rehearsed)
            for epoch in 0..<epochs { send(.epochStaged(identity(epoch + 1))) }
        }

        @discardableResult mutating func send(_ event: BackupEvent, after milliseconds: UInt64 = 1) -> [BackupAction] {
            now += milliseconds * millisecond
            let actions = backup.handle(event, now: now)
            for case .askArbiter(let new) in actions { request = new }
            return actions.filter { if case .report = $0 { false } else { true } }
        }

        mutating func silence(_ milliseconds: UInt64) -> [BackupAction] {
            (0..<milliseconds / 10).flatMap { _ in send(.tick, after: 10) }
        }

        mutating func win() throws -> [BackupAction] {
            guard case .compareAndSet(let proposal) = request?.operation, let number = request?.number else { return [] }
            return send(.arbiterAnswered(number: number, .won(proposal.proposed)))
        }

        func identity(_ epoch: UInt64, generation: UInt64 = 1, nonce: UInt64 = 7) -> EpochIdentity {
            EpochIdentity(generation: generation, sessionNonce: nonce, epoch: epoch)
        }

        var takeOver: ArbiterRequest.Operation {
            .compareAndSet(ArbiterProposal.takeOver(committed: session, by: "b", nonce: "00000000000000010000000000000002-1"))
        }
    }

    @Test func `a whole epoch is acknowledged and applied, in order only`() {
        var harness = Harness()
        let first = harness.identity(1)
        #expect(harness.send(.epochStaged(first)) == [.acknowledge(first), .apply(first)])
        #expect(harness.send(.epochStaged(first)) == [.discard(first), .acknowledge(first)])
        let third = harness.identity(3)
        #expect(harness.send(.epochStaged(third)) == [.discard(third), .refuse(third, reason: "it does not follow epoch 1")])
        for stranger in [harness.identity(2, generation: 2), harness.identity(2, nonce: 8)] {
            #expect(harness.send(.epochStaged(stranger)) == [.discard(stranger)])
        }
        #expect(harness.backup.state == .eligible(committed: 1))
    }

    @Test func `a torn epoch is thrown away and never acknowledged`() {
        var harness = Harness(epochs: 1)
        let second = harness.identity(2)
        #expect(harness.send(.epochTorn(second, reason: "x")) == [.discard(second), .refuse(second, reason: "x")])
        #expect(harness.backup.state == .eligible(committed: 1))
    }

    @Test func `before its first epoch a backup never asks`() {
        var harness = Harness()
        #expect(
            harness.send(.takeoverRequested(.guestFailed(.exited))) == [
                .tellPrimary(.takeoverDeclined(reason: "the backup holds no complete epoch"))
            ])
        _ = harness.silence(3_100)
        #expect(harness.request == nil && harness.backup.state == .failed(.primaryLostEarly))
    }

    @Test func `silence stops the acknowledgements before the arbiter is asked`() throws {
        var harness = Harness(epochs: 2)
        #expect(harness.silence(140).isEmpty)
        let actions = harness.silence(30)
        #expect(actions.first == .stopAcknowledging && harness.request?.operation == harness.takeOver)
        #expect(harness.send(.epochStaged(harness.identity(3))) == [.discard(harness.identity(3))])
        #expect(harness.send(.heartbeat(progressAge: 0)).isEmpty && harness.backup.state == .deciding(committed: 2))
        #expect(try harness.win() == [.activate(through: 2)])
        #expect(harness.send(.standbyActivated) == [.runGuest])
        #expect(harness.send(.guestRunning).first == .tellPrimary(.winnerRuns(generation: 2)))
        #expect(try harness.win().isEmpty && harness.backup.state == .active && harness.backup.record.confirmed)
    }

    @Test func `heartbeats without progress are no sign of life`() {
        var harness = Harness(epochs: 1)
        for age in 1...20 { harness.send(.heartbeat(progressAge: UInt64(age) * 10 * Self.millisecond), after: 10) }
        harness.send(.tick)
        #expect(harness.backup.state == .deciding(committed: 1))
    }

    @Test func `a woken backup gives the primary a fresh chance`() {
        var harness = Harness(epochs: 1)
        #expect(harness.send(.tick, after: 60_000).isEmpty)
        #expect(harness.silence(140).isEmpty)
        #expect(harness.silence(30).contains(.stopAcknowledging))
    }

    @Test func `an unreachable arbiter is asked the same again and again`() {
        var harness = Harness(epochs: 1)
        harness.send(.takeoverRequested(.guestFailed(.exited)))
        for _ in 0..<5 {
            harness.send(.arbiterAnswered(number: harness.request!.number, .unknown(reason: "x")))
            harness.request = nil
            _ = harness.silence(60)
            #expect(harness.request?.operation == harness.takeOver)
        }
        #expect(harness.backup.state == .deciding(committed: 1))
    }

    @Test func `a lost decision disposes the standby and is never asked again`() {
        var harness = Harness(epochs: 1)
        harness.send(.takeoverRequested(.guestFailed(.exited)))
        #expect(harness.send(.arbiterAnswered(number: harness.request!.number, .lost(current: nil))) == [.disposeStandby])
        harness.request = nil
        harness.send(.takeoverRequested(.guestFailed(.exited)))
        harness.send(.primaryChannelClosed)
        _ = harness.silence(500)
        #expect(harness.request == nil && harness.backup.condition == .unable)
    }

    @Test func `a closed channel leaves a living primary the time to go solo`() {
        var harness = Harness(epochs: 1)
        #expect(harness.send(.primaryChannelClosed).isEmpty)
        var dismissed = harness
        #expect(dismissed.send(.dismissed(.wentSolo)) == [.stopAcknowledging, .disposeStandby])
        #expect(harness.silence(60).contains(.stopAcknowledging))
    }

    @Test func `a takeover that fails before the guest ran is handed back, standby first`() throws {
        for failure in [BackupEvent.activationFailed(reason: "x"), .standbyDied(reason: "x")] {
            var harness = Harness(epochs: 1)
            harness.send(.takeoverRequested(.guestFailed(.noCutPoint)))
            _ = try harness.win()
            #expect(harness.send(failure).first == .disposeStandby)
            #expect(try harness.win() == [.tellPrimary(.handedBack(generation: 3))])
            #expect(harness.backup.record.handsBack(Self.session) && harness.backup.state == .failed(.handedBack))
        }
    }

    @Test func `a guest that may have been seen is not handed back`() throws {
        var harness = Harness(epochs: 1)
        harness.send(.takeoverRequested(.guestFailed(.exited)))
        _ = try harness.win()
        harness.send(.standbyActivated)
        #expect(harness.send(.standbyDied(reason: "x")) == [.disposeStandby])
        #expect(harness.backup.state == .failed(.guestLost(reason: "x")))
    }

    @Test func `a standby that dies while the arbiter decides hands back what it wins`() throws {
        var harness = Harness(epochs: 1)
        harness.send(.takeoverRequested(.guestFailed(.exited)))
        #expect(harness.send(.standbyDied(reason: "x")).isEmpty)
        #expect(try harness.win().first == .disposeStandby)
        #expect(harness.backup.state == .handingBack)
    }

    @Test func `a backup without memory refuses but stays able to take over`() {
        var harness = Harness(epochs: 4)
        #expect(harness.send(.outOfMemory) == [.refuse(harness.identity(5), reason: "out of memory")])
        #expect(harness.backup.state == .eligible(committed: 4))
    }

    @Test func `a record that permits another host gives no backup`() {
        var record = Self.session
        record.backup = "c"
        var backup = BackupProtocol(BackupConfiguration(host: "b", record: record, sessionNonce: 7, nonceSeed: (1, 2)), now: 1)
        #expect(backup.condition == .unable)
        let identity = EpochIdentity(generation: 1, sessionNonce: 7, epoch: 1)
        #expect(backup.handle(.epochStaged(identity), now: 2) == [.discard(identity)])
    }
}
