import Demonstration
import Glibc
import HostAPI
import Synchronization
import Testing
import UnderstudyCore

/// Epochs are atomic: the checkpoint stream is cut at every boundary of its records and at random bytes.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct TornStreamTests {
    /// Boundary 0 lies after a whole epoch, boundary n after the n-th record of the next one.
    private static func cuts(_ boundaries: Int, bytes: Int, _ numbers: inout SeededNumbers) -> [StreamProxy.Cut] {
        (0..<boundaries).map { .boundary($0) } + (0..<bytes).map { _ in .bytes(Int.random(in: 1...400_000, using: &numbers)) }
    }

    /// The stream is cut and its host dies in the same instant: the survivor goes on from a whole epoch.
    @Test func aTornEpochIsNeverTakenOver() throws {
        let seed = SeededNumbers.seedOfThisRun
        var numbers = SeededNumbers(seed: seed)
        let pair = try ProtectedLab(dirtyPages: 40, proxied: true)
        var boundary = 0
        var bytes = 8
        while true {
            try pair.startClients()
            try pair.protect()
            try pair.awaitEpochs(3)
            let proxy = pair.proxies[pair.active == .first ? 0 : 1]
            let records = proxy.recordsOfLastEpoch
            // Every boundary of an epoch of this guest, then random bytes.
            let cut: StreamProxy.Cut
            if boundary <= records {
                cut = .boundary(boundary)
                boundary += 1
            } else if bytes > 0 {
                cut = .bytes(Int.random(in: 1...400_000, using: &numbers))
                bytes -= 1
            } else {
                break
            }
            try cutAndKill(pair, proxy, cut)
            let verdict = try pair.verdict()
            #expect(verdict.passed, "cut at \(cut), epochs of \(records) records, seed \(seed): \(verdict.json)\n\(pair.logs)")
            try pair.revive(pair.active.other)
        }
        #expect(boundary >= 4, "an epoch has a begin, a device state and an end at least")
        pair.stopClients()
    }

    private func cutAndKill(_ pair: ProtectedLab, _ proxy: StreamProxy, _ cut: StreamProxy.Cut) throws {
        let host = pair.host(pair.active)
        let pids = host.processes
        let lab = pair.lab
        let failure = Mutex<String?>(nil)
        let done = Flag()
        proxy.arm(cut) {
            do { _ = try lab.kill(host, pids: pids) } catch { failure.withLock { $0 = "\(error)" } }
            done.set()
        }
        try pair.wait(seconds: 60, for: "the cut") { done.isSet }
        if let text = failure.withLock({ $0 }) { throw SurvivalFailure(text) }
        let died = MonotonicTime.now()
        try pair.kill(pair.active)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
    }

    /// The stream is cut and both hosts live: exactly one guest goes on, without loss.
    @Test func aCutStreamLeavesExactlyOneGuest() throws {
        let seed = SeededNumbers.seedOfThisRun
        var numbers = SeededNumbers(seed: seed)
        let pair = try ProtectedLab(dirtyPages: 40, proxied: true)
        for cut in Self.cuts(8, bytes: 4, &numbers) {
            try pair.startClients()
            try pair.protect()
            try pair.awaitEpochs(3)
            let done = Flag()
            pair.proxies[pair.active == .first ? 0 : 1].arm(cut) { done.set() }
            try pair.wait(seconds: 60, for: "the cut") { done.isSet }
            let cutAt = MonotonicTime.now()
            try pair.wait(seconds: 60, for: "a guest without a backup") {
                pair.status(.first)?.state == .unprotected || pair.status(.second)?.state == .unprotected
            }
            pair.settle(on: pair.status(.first)?.state == .unprotected ? .first : .second)
            try pair.awaitReplies(after: cutAt)
            try pair.wait(seconds: 60, for: "one QEMU alone") {
                pair.machines(on: pair.active).count == 1 && pair.machines(on: pair.active.other).isEmpty
            }
            let verdict = try pair.verdict()
            #expect(verdict.passed, "cut at \(cut), seed \(seed): \(verdict.json)\n\(pair.logs)")
            #expect(try pair.record()?.owner == pair.host(pair.active).name)
        }
    }
}

/// Set once, by another thread.
final class Flag: Sendable {
    private let value = Atomic(false)
    func set() { value.store(true, ordering: .releasing) }
    var isSet: Bool { value.load(ordering: .acquiring) }
}
