import Demonstration
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// Output commit over takeovers at random moments; the survivor is protected again and dies in its turn.
///
/// `UNDERSTUDY_TEST_TAKEOVERS` raises the number, `UNDERSTUDY_TEST_SEED` repeats a run.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct ChainedTakeoverTests {
    private static let takeovers = Int(SeededNumbers.number("UNDERSTUDY_TEST_TAKEOVERS") ?? 50)
    private static let perChain = 10
    private static let chains = Array(0..<(takeovers + perChain - 1) / perChain)

    /// Ten deaths in a row from A to B to A, each under fresh connections, with all kinds of RAM in turn.
    @Test(arguments: chains) func noReplyIsLostOverTakeoversAtRandomMoments(chain: Int) throws {
        let seed = SeededNumbers.seedOfThisRun &+ UInt64(chain)
        var numbers = SeededNumbers(seed: seed)
        let backends: [GuestLaunch.MemoryBackend] = [.anonymous, .memfd, .anonymous, .file(folder: "/dev/shm")]
        let pair = try ProtectedLab(
            settings: "detection-ms = 300", memory: backends[chain % backends.count], dirtyPages: [200, 440, 0][chain % 3])
        for round in 1...min(Self.perChain, Self.takeovers - chain * Self.perChain) {
            try pair.startClients()
            try pair.protect()
            try pair.awaitEpochs(UInt64.random(in: 1...20, using: &numbers))
            usleep(useconds_t.random(in: 0..<50_000, using: &numbers))
            let died = MonotonicTime.now()
            try pair.kill(pair.active)
            try pair.awaitTakeover()
            try pair.awaitReplies(after: died)
            let verdict = try pair.verdict()
            #expect(verdict.passed, "takeover \(round) of seed \(seed): \(verdict.json)\n\(pair.logs)")
            try pair.revive(pair.active.other)
        }
    }

    /// The same connections live through four deaths of the guest's host.
    @Test func oneConnectionSurvivesFourHosts() throws {
        let pair = try ProtectedLab()
        try pair.startClients()
        for _ in 1...4 {
            try pair.protect()
            try pair.awaitEpochs(5)
            let died = MonotonicTime.now()
            try pair.kill(pair.active)
            try pair.awaitTakeover()
            try pair.awaitReplies(after: died)
            try pair.revive(pair.active.other)
        }
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
        #expect(try pair.record()?.owner == pair.host(pair.active).name)
    }
}
