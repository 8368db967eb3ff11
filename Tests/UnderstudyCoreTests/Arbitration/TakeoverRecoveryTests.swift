// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

/// A restarted daemon finishes its own takeovers, hands back what never ran, and leaves everything else to its owner.
@Suite struct TakeoverRecoveryTests {
    private static let session = ArbiterRecord(generation: 3, owner: "a", backup: "b", nonce: "s", confirmed: true)
    private static let won = ArbiterProposal.takeOver(committed: session, by: "b", nonce: "x").proposed!
    private static let confirmed = ArbiterProposal.confirm(won).proposed!
    private static let guests: [TakeoverRecovery.Guest] = [.running, .loaded, .neverRan, .gone]

    private func step(_ guest: TakeoverRecovery.Guest, _ current: ArbiterRecord?) -> TakeoverRecovery.Step {
        TakeoverRecovery.step(session: Self.session, host: "b", guest: guest, current: current, nonce: "y")
    }

    @Test func `a won takeover is finished from wherever it stood`() {
        #expect(step(.running, Self.won) == .confirm(.confirm(Self.won)))
        #expect(step(.loaded, Self.won) == .resume)
        #expect(step(.running, Self.confirmed) == .lookAfter(Self.confirmed))
        #expect(step(.loaded, Self.confirmed) == .resume)
    }

    @Test func `a guest that never ran is handed back to exactly its session, one that may have run never is`() throws {
        guard case .handBack(let proposal) = step(.neverRan, Self.won) else {
            Issue.record("not handed back")
            return
        }
        #expect(proposal.expected == Self.won)
        #expect(try #require(proposal.proposed).handsBack(Self.session))
        #expect(step(.gone, Self.won) == .lost)
        #expect(step(.gone, Self.confirmed) == .lost && step(.neverRan, Self.confirmed) == .lost)
    }

    @Test func `what another host owns neither runs here nor is decided here`() {
        var later = Self.won
        later.owner = "a"
        later.generation = 4
        for current in [Self.session, later, ArbiterProposal.handBack(takenOver: Self.won, to: "a", nonce: "z").proposed!] {
            #expect(step(.running, current) == .hold(owner: "a"))
            for guest in Self.guests.dropFirst() { #expect(step(guest, current) == .dispose, "\(guest), \(current)") }
        }
    }

    /// Another session, generation or shape: nothing that this standby may answer for.
    @Test func `no record but the takeover out of this very session lets a guest run`() {
        var others: [ArbiterRecord?] = [nil]
        for change in [
            { $0.generation += 1 }, { $0.generation -= 1 }, { $0.nonce = "t/x" }, { $0.nonce = "s" }, { $0.nonce = "s/x/y" },
            { $0.backup = "a" },
        ] as [(inout ArbiterRecord) -> Void] {
            for base in [Self.won, Self.confirmed] {
                var record = base
                change(&record)
                others.append(record)
            }
        }
        for current in others {
            #expect(step(.running, current) == .leave && step(.loaded, current) == .leave, "\(String(describing: current))")
            #expect(step(.neverRan, current) == .dispose && step(.gone, current) == .dispose, "\(String(describing: current))")
        }
    }
}
