import Demonstration
import HostAPI
import Testing

@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct TakeoverTests {
    @Test func anOrdinaryTakeoverLosesNothing() throws { try takeOver(ProtectedLab(settings: "", booting: true)) }

    @Test func aFolderThatBothHostsSeeDecidesAsWell() throws { try takeOver(ProtectedLab(folderArbiter: true)) }

    private func takeOver(_ pair: ProtectedLab) throws {
        try pair.startClients()
        try pair.protect()
        try pair.wait(seconds: 60, for: "20 committed epochs") { (pair.status(pair.daemons.first)?.epoch ?? 0) >= 20 }
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)")
    }
}
