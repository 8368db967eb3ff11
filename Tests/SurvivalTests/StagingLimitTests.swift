import Demonstration
import HostAPI
import Testing

@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct StagingLimitTests {
    /// An epoch larger than `staging-mib`: protection goes, visibly, and the guest does not notice.
    @Test func anEpochBeyondTheStagingLimitLeavesTheGuestRunningVisiblyUnprotected() throws {
        let pair = try ProtectedLab(settings: "staging-mib = 16\n\(ProtectedLab.patient)", dirtyPages: 3000, booting: true)
        try pair.startClients()
        // 3,000 pages change in 25 ms: rounds of the synchronisation stay small, an epoch of one second is far beyond 16 MiB.
        try? pair.protect(intervalMilliseconds: 1000)
        let daemon = pair.daemons.first
        try pair.awaitState(.unprotected, on: daemon, seconds: 60)
        try pair.awaitReplies(after: MonotonicTime.now())
        #expect(pair.status(daemon)?.protected == false)
        #expect(pair.log(of: .first).contains("epoch-too-large"), "\(pair.logs)")
        #expect(try pair.verdict().passed)
    }
}
