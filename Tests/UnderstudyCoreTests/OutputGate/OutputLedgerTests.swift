import Testing
import UnderstudyCore

struct OutputLedgerTests {
    /// A closed ledger that holds `records` records of 100 bytes.
    private func closed(_ records: Int = 0, capacity: Int = 1000) throws -> OutputLedger {
        var ledger = OutputLedger(capacity: capacity)
        try ledger.close()
        for _ in 0..<records { ledger.store(record: 100, frame: 60) }
        return ledger
    }

    @Test func `Nothing may leave before its epoch is committed`() throws {
        var ledger = try closed(3)
        #expect(ledger.releasable.isEmpty)
        #expect(try ledger.seal(epoch: 1) == SealedOutput(epoch: 1, frames: 3, bytes: 180, overflowed: false))
        #expect(ledger.releasable.isEmpty)
        try ledger.commit(through: 1)
        #expect(ledger.releasable == 0..<300)
    }

    @Test func `Where frames pass by the ledger they leave at once, but for those between cut and opening`() throws {
        var ledger = OutputLedger(capacity: 1000, passesWhileOpen: true)
        ledger.store(record: 100, frame: 60)
        #expect(ledger.releasable == 0..<100)
        try ledger.close()
        ledger.store(record: 100, frame: 60)
        #expect(ledger.releasable == 0..<100, "what came before the cut may still leave")
        #expect(try ledger.seal(epoch: 1).frames == 1)
        #expect(throws: OutputLedgerError.self) { try ledger.open() }
        try ledger.commitEverything()
        try ledger.open()
        ledger.store(record: 100, frame: 60)
        #expect(ledger.releasable == 0..<300 && ledger.heldFrames == 3)
        // The control: an ordinary ledger holds what it is given, and does not open over it.
        var ordinary = OutputLedger(capacity: 1000)
        ordinary.store(record: 100, frame: 60)
        #expect(ordinary.releasable.isEmpty)
    }

    @Test func `A commit lets only whole epochs up to it leave`() throws {
        var ledger = try closed(1)
        _ = try ledger.seal(epoch: 1)
        ledger.store(record: 100, frame: 60)
        _ = try ledger.seal(epoch: 2)
        ledger.store(record: 100, frame: 60)
        try ledger.commit(through: 1)
        #expect(ledger.releasable == 0..<100)
        try ledger.commit(through: 2)
        #expect(ledger.releasable == 0..<200)
        ledger.left(through: 200, frames: 2, bytes: 120)
        #expect(ledger.releasable.isEmpty)
        #expect(ledger.heldFrames == 1 && ledger.heldBytes == 60)
    }

    @Test func `A commit skips over numbers that were never sealed but not beyond the newest seal`() throws {
        var ledger = try closed(1)
        _ = try ledger.seal(epoch: 3)
        ledger.store(record: 100, frame: 60)
        _ = try ledger.seal(epoch: 7)
        try ledger.commit(through: 5)
        #expect(ledger.releasable == 0..<100)
        #expect(ledger.committedThrough == 3)
        #expect(throws: OutputLedgerError.epochNotSealed(epoch: 8, newest: 7)) { try ledger.commit(through: 8) }
        #expect(ledger.releasable == 0..<100)
    }

    @Test func `A commit known before changes nothing`() throws {
        var ledger = try closed(1)
        _ = try ledger.seal(epoch: 1)
        try ledger.commit(through: 1)
        ledger.left(through: 100, frames: 1, bytes: 60)
        _ = try ledger.seal(epoch: 2)
        let before = ledger
        try ledger.commit(through: 1)
        try ledger.commit(through: 0)
        #expect(ledger == before)
    }

    @Test func `Sealed epochs rise`() throws {
        var ledger = try closed()
        _ = try ledger.seal(epoch: 5)
        let before = ledger
        for epoch in [0, 4, 5] as [UInt64] {
            #expect(throws: OutputLedgerError.epochNotRising(epoch: epoch, newest: 5)) { try ledger.seal(epoch: epoch) }
        }
        #expect(ledger == before)
    }

    @Test func `A withdrawn seal returns its frames, and its number may be used again`() throws {
        var ledger = try closed(2)
        _ = try ledger.seal(epoch: 1)
        ledger.store(record: 100, frame: 60)
        try ledger.withdraw(epoch: 1)
        #expect(throws: OutputLedgerError.epochNotSealed(epoch: 1, newest: 0)) { try ledger.commit(through: 1) }
        #expect(try ledger.seal(epoch: 1).frames == 3)
    }

    @Test func `Only the newest uncommitted seal can be withdrawn`() throws {
        var ledger = try closed(1)
        _ = try ledger.seal(epoch: 1)
        _ = try ledger.seal(epoch: 2)
        #expect(throws: OutputLedgerError.epochNotWithdrawable(epoch: 1)) { try ledger.withdraw(epoch: 1) }
        try ledger.commit(through: 2)
        #expect(throws: OutputLedgerError.epochNotWithdrawable(epoch: 2)) { try ledger.withdraw(epoch: 2) }
    }

    @Test func `Opening lets sealed and unsealed frames leave, in order`() throws {
        var ledger = try closed(1)
        _ = try ledger.seal(epoch: 1)
        ledger.store(record: 100, frame: 60)
        #expect(throws: OutputLedgerError.wrongPhase(event: "open", phase: .closed)) { try ledger.open() }
        try ledger.commitEverything()
        #expect(ledger.releasable == 0..<200)
        ledger.left(through: 200, frames: 2, bytes: 120)
        try ledger.open()
        #expect(ledger.phase == .open)
    }

    @Test func `Without output commit frames may leave at once (negative control)`() throws {
        var ledger = OutputLedger(capacity: 1000)
        try ledger.close(withoutCommit: true)
        ledger.store(record: 100, frame: 60)
        #expect(ledger.releasable == 0..<100)
        #expect(try ledger.seal(epoch: 1).frames == 0)
    }

    @Test func `An abandoned gate never lets anything leave`() throws {
        var ledger = try closed(2)
        _ = try ledger.seal(epoch: 1)
        ledger.abandon()
        #expect(ledger.releasable.isEmpty && ledger.heldFrames == 0)
        #expect(throws: OutputLedgerError.wrongPhase(event: "release", phase: .abandoned)) { try ledger.commit(through: 1) }
        #expect(throws: OutputLedgerError.wrongPhase(event: "open", phase: .abandoned)) { try ledger.commitEverything() }
        ledger.store(record: 100, frame: 60)
        #expect(ledger.releasable.isEmpty)
    }

    @Test func `Before the gate is closed, and after it is open, there is nothing to seal, withdraw or release`() throws {
        var prepared = OutputLedger(capacity: 1000)
        var open = try closed()
        try open.open()
        for phase in [OutputLedger.Phase.prepared, .open] {
            var ledger = phase == .prepared ? prepared : open
            #expect(throws: OutputLedgerError.wrongPhase(event: "seal", phase: phase)) { try ledger.seal(epoch: 1) }
            #expect(throws: OutputLedgerError.wrongPhase(event: "withdraw a seal", phase: phase)) { try ledger.withdraw(epoch: 1) }
            #expect(throws: OutputLedgerError.wrongPhase(event: "release", phase: phase)) { try ledger.commit(through: 0) }
            #expect(throws: OutputLedgerError.wrongPhase(event: "open", phase: phase)) { try ledger.commitEverything() }
            #expect(throws: OutputLedgerError.wrongPhase(event: "open", phase: phase)) { try ledger.open() }
        }
        #expect(throws: OutputLedgerError.wrongPhase(event: "close", phase: .open)) { try open.close() }
        try prepared.close()
        #expect(throws: OutputLedgerError.wrongPhase(event: "close", phase: .closed)) { try prepared.close() }
    }

    @Test func `A full ring has room again exactly when frames have left`() throws {
        var ledger = try closed(10)
        #expect(!ledger.hasRoom(for: 1))
        _ = try ledger.seal(epoch: 1)
        try ledger.commit(through: 1)
        #expect(!ledger.hasRoom(for: 1))
        ledger.left(through: 100, frames: 1, bytes: 60)
        #expect(ledger.hasRoom(for: 100) && !ledger.hasRoom(for: 101))
    }

    @Test(arguments: 0..<50) func `Over random events no frame leaves early, twice, out of order or never`(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        var ledger = try closed(capacity: 5000)
        var epochs: [(end: UInt64, epoch: UInt64)] = []
        var (stored, gone, epoch, committed) = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
        for _ in 0..<2000 {
            switch UInt64.random(in: 0..<10, using: &random) {
            case 0..<5:
                guard ledger.hasRoom(for: 100) else { continue }
                ledger.store(record: 100, frame: 60)
                stored += 1
            case 5:
                epoch += UInt64.random(in: 1...2, using: &random)
                _ = try ledger.seal(epoch: epoch)
                epochs.append((stored, epoch))
            case 6 where (epochs.last?.epoch ?? 0) > committed:
                try ledger.withdraw(epoch: epoch)
                epochs.removeLast()
                epoch = epochs.last?.epoch ?? 0
            case 7..<9 where epoch > 0:
                let through = UInt64.random(in: 0...epoch, using: &random)
                try ledger.commit(through: through)
                committed = max(committed, epochs.last { $0.epoch <= through }?.epoch ?? 0)
            default:
                let range = ledger.releasable
                let allowed = epochs.last { $0.epoch <= committed }?.end ?? 0
                #expect(range.lowerBound == gone * 100)
                #expect(range.upperBound == max(allowed, gone) * 100)
                guard !range.isEmpty else { continue }
                let count = UInt64.random(in: 1...UInt64(range.count / 100), using: &random)
                ledger.left(through: range.lowerBound + count * 100, frames: Int(count), bytes: Int(count) * 60)
                gone += count
            }
            #expect(ledger.heldFrames == Int(stored - gone))
        }
    }
}

/// A small seeded generator: the same events for the same seed.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
