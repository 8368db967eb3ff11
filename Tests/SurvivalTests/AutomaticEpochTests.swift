import Demonstration
import HostAPI
import Testing

/// Epochs that find their length: long while nobody asks the guest, short while its output waits, and as safe as fixed ones.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct AutomaticEpochTests {
    @Test func epochsFollowTheOutputAndATakeoverLosesNothing() throws {
        let pair = try ProtectedLab(dirtyPages: 40)
        try pair.protect(intervalMilliseconds: 0)
        func decisions(_ reasons: String...) -> UInt64 {
            let pacing = pair.status(.first)?.pacing
            return reasons.reduce(0) { $0 + (pacing?.decisions[$1] ?? 0) }
        }
        try pair.wait(seconds: 60, for: "epochs of a guest that says nothing") { decisions("quiet", "commit-time") >= 20 }
        #expect(pair.status(.first)?.pacing?.isAutomatic == true && pair.status(.first)?.intervalMilliseconds == nil)
        let before = decisions("output-waits", "pause-share", "acknowledgement")
        try pair.startClients()
        try pair.wait(seconds: 60, for: "epochs that waiting output asked for") {
            decisions("output-waits", "pause-share", "acknowledgement") >= before + 100
        }
        let died = MonotonicTime.now()
        try pair.kill(.first)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    /// The control: epochs of a fixed length do not follow anything.
    @Test func fixedEpochsKeepTheirLength() throws {
        let pair = try ProtectedLab(dirtyPages: 40)
        try pair.protect(intervalMilliseconds: 25)
        try pair.startClients()
        try pair.awaitEpochs(40)
        let pacing = try #require(pair.status(.first)?.pacing)
        #expect(!pacing.isAutomatic && pacing.intervalMilliseconds == 25)
        #expect(Set(pacing.decisions.keys).isSubset(of: ["fixed", "acknowledgement"]), "\(pacing.decisions)")
    }
}
