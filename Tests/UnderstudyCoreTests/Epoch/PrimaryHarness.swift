// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

/// A primary protocol with a mock clock and an arbiter that answers at once.
struct PrimaryHarness {
    static let millisecond: UInt64 = 1_000_000

    var now: UInt64 = 5_000_000_000
    var primary: PrimaryProtocol
    var stored: ArbiterRecord?
    var requests: [ArbiterRequest] = []

    init(stored: ArbiterRecord? = nil) {
        self.stored = stored
        primary = PrimaryProtocol(PrimaryConfiguration(host: "a", backup: "b", sessionNonce: 7, nonceSeed: (1, 2)), now: now)
    }

    /// Protected with `epochs` committed.
    static func protected(epochs: UInt64 = 1) -> PrimaryHarness {
        var harness = PrimaryHarness()
        harness.take(harness.primary.begin(now: harness.now))
        harness.settle()
        harness.send(.rehearsed)
        for epoch in 1...epochs {
            harness.cut(epoch)
            harness.send(.acknowledged(harness.identity(epoch)))
        }
        return harness
    }

    mutating func take(_ actions: [PrimaryAction]) {
        for case .askArbiter(let request) in actions { requests.append(request) }
    }

    @discardableResult mutating func send(_ event: PrimaryEvent, after milliseconds: UInt64 = 1) -> [PrimaryAction] {
        now += milliseconds * Self.millisecond
        let actions = primary.handle(event, now: now)
        take(actions)
        return actions.filter { if case .report = $0 { false } else { true } }
    }

    mutating func cut(_ epoch: UInt64) {
        send(.epochCut(epoch))
        send(.epochHandedToLink(epoch))
    }

    func identity(_ epoch: UInt64, generation: UInt64 = 1, nonce: UInt64 = 7) -> EpochIdentity {
        EpochIdentity(generation: generation, sessionNonce: nonce, epoch: epoch)
    }

    /// The arbiter answers what is open, until nothing is.
    @discardableResult mutating func settle() -> [PrimaryAction] {
        var actions: [PrimaryAction] = []
        while !requests.isEmpty { actions += answer() }
        return actions.filter { if case .askArbiter = $0 { false } else { true } }
    }

    mutating func answer() -> [PrimaryAction] {
        let request = requests.removeFirst()
        guard case .compareAndSet(let proposal) = request.operation else {
            return send(.arbiterRead(number: request.number, .record(stored)))
        }
        guard proposal.expected == stored else { return send(.arbiterAnswered(number: request.number, .lost(current: stored))) }
        stored = proposal.proposed
        return send(.arbiterAnswered(number: request.number, .won(stored)))
    }

    /// The backup took over in the arbiter's record.
    mutating func takeOver(confirmed: Bool = false) throws {
        stored = ArbiterProposal.takeOver(committed: try #require(stored), by: "b", nonce: "t").proposed
        stored?.confirmed = confirmed
    }
}
