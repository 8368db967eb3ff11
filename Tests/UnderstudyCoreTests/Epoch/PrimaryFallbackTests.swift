// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

/// A guest that runs alone and cannot be protected again runs on alone, whatever its protection has come to.
@Suite struct PrimaryFallbackTests {
    private static let alone = ArbiterRecord(generation: 4, owner: "a", backup: nil, nonce: "s/x", confirmed: true)

    private func goOnAlone(_ harness: inout PrimaryHarness) -> [PrimaryAction] {
        let actions = harness.primary.goOnAlone(since: Self.alone, now: harness.now)
        harness.take(actions)
        return actions.filter { if case .report = $0 { false } else { true } }
    }

    @Test func `a guest that was not even asked about keeps its record`() {
        var harness = PrimaryHarness(stored: Self.alone)
        #expect(goOnAlone(&harness) == [.openGate, .dismissBackup(.cancelled)])
        #expect(harness.primary.state == .solo && harness.primary.record == Self.alone)
        #expect(harness.requests.isEmpty && harness.stored == Self.alone)
    }

    @Test func `a permission that was given is withdrawn`() {
        var harness = PrimaryHarness(stored: Self.alone)
        harness.take(harness.primary.begin(now: harness.now))
        harness.settle()
        #expect(harness.primary.state == .synchronising && harness.stored?.backup == "b")
        _ = goOnAlone(&harness)
        #expect(harness.primary.state == .solo)
        harness.settle()
        #expect(harness.primary.state == .solo && harness.primary.record == harness.stored)
        #expect(harness.stored?.owner == "a" && harness.stored?.backup == nil && harness.stored?.generation == 5)
    }

    @Test func `a permission whose answer never came is found and withdrawn`() {
        var harness = PrimaryHarness(stored: Self.alone)
        harness.take(harness.primary.begin(now: harness.now))
        _ = harness.answer()
        // Carried out, but the answer is lost.
        guard case .compareAndSet(let permit)? = harness.requests.popLast()?.operation else {
            Issue.record("no permission was asked for")
            return
        }
        harness.stored = permit.proposed
        _ = goOnAlone(&harness)
        harness.settle()
        #expect(harness.primary.state == .solo && harness.primary.record == harness.stored && harness.stored?.backup == nil)
    }

    @Test func `a loss during the synchronisation and a refusal are survived as well`() {
        var harness = PrimaryHarness(stored: Self.alone)
        harness.take(harness.primary.begin(now: harness.now))
        harness.settle()
        harness.send(.backupLost(.channelClosed))
        #expect(harness.primary.state == .ended(.cancelled))
        _ = goOnAlone(&harness)
        harness.settle()
        #expect(harness.primary.state == .solo && harness.stored?.backup == nil)

        let foreign = ArbiterRecord(generation: 9, owner: "c", backup: nil, nonce: "z", confirmed: true)
        harness = PrimaryHarness(stored: foreign)
        harness.take(harness.primary.begin(now: harness.now))
        harness.settle()
        #expect(harness.primary.state == .ended(.refused))
        _ = goOnAlone(&harness)
        harness.settle()
        #expect(harness.primary.state == .solo && harness.stored == foreign, "a foreign record is never touched")
    }

    @Test func `a gate that may have been closed is never opened without a decision`() {
        var harness = PrimaryHarness.protected()
        let stored = harness.stored
        #expect(goOnAlone(&harness) == [])
        #expect(harness.primary.state == .protected(committed: 1) && harness.stored == stored)
        var dead = PrimaryHarness(stored: Self.alone)
        dead.take(dead.primary.begin(now: dead.now))
        dead.settle()
        dead.send(.guestFailed(.exited))
        #expect(goOnAlone(&dead) == [] && dead.primary.state != .solo, "a dead guest does not go on")
    }

    @Test func `the end of the guest and of protection come through while the permission is being withdrawn`() {
        for event in [PrimaryEvent.unprotectRequested, .guestFailed(.exited), .guestEnded(.shutdown)] {
            for answers in 0...2 {
                var harness = PrimaryHarness(stored: Self.alone)
                harness.take(harness.primary.begin(now: harness.now))
                harness.settle()
                _ = goOnAlone(&harness)
                for _ in 0..<answers where !harness.requests.isEmpty { _ = harness.answer() }
                harness.send(event)
                harness.settle()
                guard case .ended = harness.primary.state else {
                    Issue.record("\(harness.primary.state)")
                    continue
                }
                #expect(harness.stored == nil, "\(event) after \(answers)")
            }
        }
    }
}
