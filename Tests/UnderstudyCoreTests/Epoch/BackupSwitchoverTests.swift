// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

/// The backup's side of a planned move, event by event.
struct BackupSwitchoverTests {
    typealias Harness = BackupProtocolTests.Harness

    @Test func `a backup is ready when the arbiter answers with the session's record`() throws {
        var harness = Harness(epochs: 3)
        harness.send(.switchoverAnnounced)
        let request = try #require(harness.request)
        #expect(request.operation == .read)
        var other = harness
        #expect(
            harness.send(.arbiterRead(number: request.number, .record(BackupProtocolTests.session))) == [.tellPrimary(.switchoverReady)])
        let wrong = other.send(.arbiterRead(number: request.number, .record(nil)))
        #expect(wrong == [.tellPrimary(.switchoverDeclined(reason: "the backup's arbiter holds another record"))])
        for harness in [harness, other] { #expect(harness.backup.state == .eligible(committed: 3)) }
    }

    @Test func `a silent arbiter declines, and is not asked again`() throws {
        var harness = Harness(epochs: 1)
        harness.send(.switchoverAnnounced)
        let number = try #require(harness.request).number
        let declined = BackupNotice.switchoverDeclined(reason: "the backup's arbiter does not answer: x")
        #expect(harness.send(.arbiterRead(number: number, .unknown(reason: "x"))) == [.tellPrimary(declined)])
        harness.request = nil
        for _ in 0..<10 { harness.send(.heartbeat(progressAge: 0), after: 10) }
        harness.send(.tick)
        #expect(harness.request == nil && harness.backup.state == .eligible(committed: 1))
    }

    @Test func `a backup without a whole epoch declines`() {
        var harness = Harness()
        let declined = BackupNotice.switchoverDeclined(reason: "the backup holds no complete epoch")
        #expect(harness.send(.switchoverAnnounced) == [.tellPrimary(declined)])
        #expect(harness.request == nil)
    }

    @Test func `only the backup that holds the last epoch takes over`() throws {
        var early = Harness(epochs: 2)
        let declined = BackupNotice.takeoverDeclined(reason: "the backup holds epoch 2 and not the last one, 3")
        #expect(early.send(.takeoverRequested(.switchover(epoch: 3))) == [.tellPrimary(declined)])
        #expect(early.backup.state == .eligible(committed: 2) && early.request == nil)
        var harness = Harness(epochs: 3)
        #expect(harness.send(.takeoverRequested(.switchover(epoch: 3))).first == .stopAcknowledging)
        #expect(try harness.win() == [.activate(through: 3)])
        #expect(harness.send(.standbyActivated) == [.runGuest])
        #expect(harness.send(.guestRunning).first == .tellPrimary(.winnerRuns(generation: 2)))
        #expect(harness.send(.takeoverRequested(.switchover(epoch: 3))) == [.tellPrimary(.winnerRuns(generation: 2))])
    }

    @Test func `a decision replaces the question that preceded it`() throws {
        var harness = Harness(epochs: 1)
        harness.send(.switchoverAnnounced)
        let read = try #require(harness.request)
        harness.send(.takeoverRequested(.switchover(epoch: 1)))
        #expect(harness.request?.operation == harness.takeOver)
        #expect(harness.send(.arbiterRead(number: read.number, .record(nil))).isEmpty)
        #expect(try harness.win() == [.activate(through: 1)])
    }

    @Test func `a switchover whose standby does not load is handed back`() throws {
        var harness = Harness(epochs: 1)
        harness.send(.takeoverRequested(.switchover(epoch: 1)))
        _ = try harness.win()
        #expect(harness.send(.activationFailed(reason: "x")).first == .disposeStandby)
        #expect(try harness.win() == [.tellPrimary(.handedBack(generation: 3))])
    }
}
