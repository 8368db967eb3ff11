// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

struct DecisionTests {
    let old = ArbiterRecord(generation: 1, owner: "a", backup: "b", nonce: "s", confirmed: true)
    var proposal: ArbiterProposal { .goSolo(from: old, nonce: "n") }
    var other: ArbiterRecord? { ArbiterProposal.takeOver(committed: old, by: "b", nonce: "t").proposed }

    @Test func `a lost reply decides nothing`() {
        var decision = Decision(proposal)
        #expect(decision.answered(.unknown(reason: "x")) == .undecided)
        #expect(decision.read(.unknown(reason: "x")) == .undecided)
        #expect(decision.read(.record(old)) == .undecided)
        #expect(decision.answered(.lost(current: old)) == .undecided)
    }

    @Test func `our own nonce found in the record means won`() {
        var retried = Decision(proposal)
        #expect(retried.answered(.lost(current: proposal.proposed)) == .won(proposal.proposed))
        var read = Decision(proposal)
        #expect(read.read(.record(proposal.proposed)) == .won(proposal.proposed))
        var deleted = Decision(.end(old))
        #expect(deleted.answered(.lost(current: nil)) == .won(nil))
    }

    @Test func `any other record means lost, for good`() {
        for found in [other, nil] {
            var decision = Decision(proposal)
            #expect(decision.answered(.lost(current: found)) == .lost(current: found))
            #expect(decision.answered(.won(proposal.proposed)) == .lost(current: found))
        }
        var samePlaceOtherNonce = Decision(proposal)
        let forged = ArbiterProposal.goSolo(from: old, nonce: "m").proposed
        #expect(samePlaceOtherNonce.answered(.lost(current: forged)) == .lost(current: forged))
    }

    @Test func `an arbiter that confirms another record is not believed`() {
        var decision = Decision(proposal)
        #expect(decision.answered(.won(other)) == .undecided)
        #expect(decision.answered(.won(nil)) == .undecided)
    }

    @Test func `a hand-back names its session`() throws {
        let taken = try #require(other)
        let returned = try #require(ArbiterProposal.handBack(takenOver: taken, to: "a", nonce: "h").proposed)
        #expect(returned.handsBack(old) && returned.generation == 3)
        var stranger = old
        stranger.nonce = "s2"
        #expect(!returned.handsBack(stranger) && !taken.handsBack(old))
    }

    @Test func `nonces are never the same`() {
        var first = NonceSequence(seed: (1, 2))
        var second = NonceSequence(seed: (1, 3))
        let nonces = (0..<100).flatMap { _ in [first.next(), second.next()] }
        #expect(Set(nonces).count == nonces.count && nonces.allSatisfy { !$0.contains("/") })
    }

    @Test func `only its own record can be reopened`() {
        #expect(ArbiterProposal.reopen(old, by: "a", nonce: "n") == .goSolo(from: old, nonce: "n"))
        #expect(ArbiterProposal.reopen(old, by: "b", nonce: "n") == nil)
        #expect(other.flatMap { ArbiterProposal.reopen($0, by: "b", nonce: "n") } == nil)
    }
}
