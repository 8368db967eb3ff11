// SPDX-License-Identifier: Apache-2.0

import Arbiter
import Foundation
import Synchronization
import Testing
import UnderstudyCore

/// What every arbiter must do.
enum ArbiterContract {
    /// Nanoseconds for one answer: far more than any arbiter needs, since machines are loaded.
    static let patience: UInt64 = 60_000_000_000

    /// One life of a record, every decision in turn, and the proposals that must lose.
    static func decisions(_ arbiter: some ArbiterClient, key: String) throws {
        var stored: ArbiterRecord?
        func win(_ proposal: ArbiterProposal) throws {
            #expect(arbiter.compareAndSet(key: key, proposal: proposal, timeout: patience) == .won(proposal.proposed))
            stored = proposal.proposed
            #expect(try arbiter.read(key: key) == stored)
        }
        func lose(_ proposal: ArbiterProposal) {
            #expect(arbiter.compareAndSet(key: key, proposal: proposal, timeout: patience) == .lost(current: stored))
        }
        #expect(try arbiter.read(key: key) == nil)
        let create = ArbiterProposal.create(owner: "a", nonce: "n1")
        lose(.end(try #require(create.proposed)))
        try win(create)
        lose(create)
        try win(.permitBackup("b", current: try #require(stored), nonce: "n2"))
        let session = try #require(stored)
        try win(.takeOver(committed: session, by: "b", nonce: "n3"))
        lose(.goSolo(from: session, nonce: "n4"))
        lose(.takeOver(committed: session, by: "b", nonce: "n5"))
        try win(.handBack(takenOver: try #require(stored), to: "a", nonce: "n6"))
        #expect(stored?.handsBack(session) == true)
        try win(.confirm(try #require(stored)))
        try win(.goSolo(from: try #require(stored), nonce: "n7"))
        try win(.end(try #require(stored)))
        lose(.goSolo(from: session, nonce: "n8"))
        try win(.create(owner: "a", nonce: "n9"))
    }

    /// Primary and backup decide at the same time, again and again: exactly one wins.
    static func races(_ arbiters: [any ArbiterClient], key: String, rounds: Int) throws {
        for round in 0..<rounds {
            let key = "\(key)-\(round)"
            let created = ArbiterProposal.create(owner: "a", nonce: "c")
            #expect(arbiters[0].compareAndSet(key: key, proposal: created, timeout: patience) == .won(created.proposed))
            let permitted = ArbiterProposal.permitBackup("b", current: try #require(created.proposed), nonce: "p")
            #expect(arbiters[0].compareAndSet(key: key, proposal: permitted, timeout: patience) == .won(permitted.proposed))
            let session = try #require(permitted.proposed)
            let proposals = [
                ArbiterProposal.goSolo(from: session, nonce: "s"), .takeOver(committed: session, by: "b", nonce: "t"), .end(session),
            ]
            let answers = ask(arbiters, key: key, proposals: proposals)
            let winners = proposals.indices.filter { answers[$0] == .won(proposals[$0].proposed) }
            #expect(winners.count == 1, "\(answers)")
            #expect(answers.filter { if case .lost = $0 { true } else { false } }.count == proposals.count - 1, "\(answers)")
            if let winner = winners.first { #expect(try arbiters[1].read(key: key) == proposals[winner].proposed) }
        }
    }

    private static func ask(_ arbiters: [any ArbiterClient], key: String, proposals: [ArbiterProposal]) -> [ArbiterAnswer] {
        let answers = Mutex([ArbiterAnswer](repeating: .unknown(reason: "not asked"), count: proposals.count))
        DispatchQueue.concurrentPerform(iterations: proposals.count) { index in
            let arbiter = arbiters[index % arbiters.count]
            let answer = arbiter.compareAndSet(key: key, proposal: proposals[index], timeout: patience)
            answers.withLock { $0[index] = answer }
        }
        return answers.withLock { $0 }
    }
}
