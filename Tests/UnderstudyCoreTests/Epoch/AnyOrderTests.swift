// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

struct AnyOrderTests {
    @Test func `a primary survives events in any order and opens its gate only by a won decision`() {
        for seed in 0..<4000 as Range<UInt64> {
            var random = Seeded(state: seed)
            var now: UInt64 = 1_000_000_000
            var primary = PrimaryProtocol(
                PrimaryConfiguration(host: "a", backup: "b", sessionNonce: 7, nonceSeed: (seed, 1)), now: now)
            var actions = seed % 4 == 0 ? primary.reopen(session: random.record(), now: now) : primary.begin(now: now)
            var request: ArbiterRequest?
            for _ in 0..<120 {
                for case .askArbiter(let new) in actions { request = new }
                now += random.below(random.below(6) == 0 ? 300_000_000 : 20_000_000)
                let event = random.primaryEvent(primary, request)
                let opened = primary.gateOpened
                let before = primary.acknowledged
                actions = primary.handle(event, now: now)
                if actions.contains(.openGate), !opened {
                    guard case .arbiterAnswered = event else {
                        Issue.record("seed \(seed): \(event) opened the gate")
                        return
                    }
                }
                // A guest that was held for a switchover runs on only before its backup was asked, or after a won decision.
                if actions.contains(.resumeGuest), !primary.gateOpened {
                    guard case .protected = primary.state else {
                        Issue.record("seed \(seed): \(event) resumed the guest in \(primary.state)")
                        return
                    }
                }
                for case .release(let epoch) in actions {
                    #expect(epoch <= primary.acknowledged && (epoch > before || primary.released == epoch))
                }
            }
        }
    }

    @Test func `a backup survives events in any order and is silent after it stopped acknowledging`() {
        for seed in 0..<4000 as Range<UInt64> {
            var random = Seeded(state: seed)
            var now: UInt64 = 1_000_000_000
            let record = ArbiterRecord(generation: 1, owner: "a", backup: "b", nonce: "n", confirmed: true)
            var backup = BackupProtocol(BackupConfiguration(host: "b", record: record, sessionNonce: 7, nonceSeed: (seed, 1)), now: now)
            var request: ArbiterRequest?
            var stopped = false
            var asked = 0
            var acknowledged: UInt64 = 0
            for _ in 0..<150 {
                now += random.below(random.below(6) == 0 ? 300_000_000 : 20_000_000)
                for action in backup.handle(random.backupEvent(backup, request), now: now) {
                    switch action {
                    case .acknowledge(let identity):
                        #expect(!stopped && identity.epoch <= acknowledged + 1 && identity.sessionNonce == 7, "seed \(seed)")
                        acknowledged = max(acknowledged, identity.epoch)
                    case .stopAcknowledging: stopped = true
                    case .activate(let through): #expect(through == acknowledged && stopped, "seed \(seed)")
                    case .askArbiter(let new):
                        if case .compareAndSet(let proposal) = new.operation {
                            #expect(stopped, "seed \(seed)")
                            if request?.operation != new.operation { asked += proposal.expected == record ? 1 : 0 }
                        }
                        request = new
                    default: break
                    }
                }
            }
            #expect(asked <= 1, "seed \(seed)")
        }
    }
}
