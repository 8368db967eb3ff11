import Demonstration
import Glibc
import HostAPI
import Testing

@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct OpenGateTests {
    /// The control of every proof of output commit: with the gate open the same judgement finds the damage.
    @Test func withoutOutputCommitTheVerdictFails() throws {
        var numbers = SeededNumbers(seed: SeededNumbers.seedOfThisRun)
        let pair = try ProtectedLab()
        var failed = 0
        for _ in 1...10 {
            try pair.startClients()
            try pair.protect(unsafeNoOutputCommit: true)
            try pair.awaitEpochs(UInt64.random(in: 2...10, using: &numbers))
            usleep(useconds_t.random(in: 0..<50_000, using: &numbers))
            try pair.kill(pair.active)
            try pair.awaitTakeover()
            // The damage may be that there never is another reply, so none is waited for.
            usleep(700_000)
            if !(try pair.verdict(drainSeconds: 1).passed) { failed += 1 }
            try pair.revive(pair.active.other)
        }
        #expect(failed >= 8, "only \(failed) of 10 runs with an open gate were found out, seed \(SeededNumbers.seedOfThisRun)")
    }
}
