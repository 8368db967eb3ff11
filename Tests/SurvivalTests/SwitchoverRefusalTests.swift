import Demonstration
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// A switchover that cannot be is refused in words, and the guest goes on.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct SwitchoverRefusalTests {
    @Test func aSwitchoverThatCannotBeIsRefusedAndTouchesNothing() throws {
        let pair = try ProtectedLab(faults: ["host2": "rehearsalLoaded:1"], settings: ProtectedLab.patient)
        try pair.startClients()
        #expect(pair.refusal(.first)?.code == "not-found")
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host2)
        let early = try #require(pair.refusal(.first))
        #expect(early.code == "refused" && early.message.contains("is not protected"), "\(early)")
        pair.daemons.second.process.signal(SIGCONT)
        try pair.awaitState(.protected, on: pair.daemon(.first), seconds: 60)
        let record = try pair.record()
        #expect(pair.refusal(.first, name: "stranger")?.code == "not-found")
        let backup = try #require(pair.refusal(.second))
        #expect(backup.code == "refused" && backup.message.contains("switch it over on host1"), "\(backup)")
        try pair.killArbiter()
        let silent = try #require(pair.refusal(.first))
        #expect(silent.message.contains("arbiter"), "\(silent)")
        #expect(pair.status(.first)?.state == .protected)
        try pair.awaitMoreEpochs(5)
        try pair.lab.startArbiter()
        try pair.awaitReplies(after: MonotonicTime.now())
        #expect(try pair.record() == record)
        pair.daemons.second.process.signal(SIGTERM)
        try pair.awaitState(.unprotected, on: pair.daemon(.first), seconds: 60)
        let alone = try #require(pair.refusal(.first))
        #expect(alone.code == "refused" && alone.message.contains("is not protected"), "\(alone)")
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    @Test func aSecondRequestIsRefusedAndTheFirstOneGoesOn() throws {
        let pair = try ProtectedLab.moving(faults: ["host2": "takeoverDecided:1"])
        let pending = PendingSwitchover(pair.daemon(.first))
        try pair.awaitFault(on: pair.lab.host2)
        let second = try #require(pair.refusal(.first))
        #expect(second.code == "busy" && second.message.contains("under way already"), "\(second)")
        pair.daemons.second.process.signal(SIGCONT)
        try pair.awaitTakeover()
        try pair.wait(seconds: 60, for: "the first client's answer") { pending.result != nil }
        guard case .success(.switchover(let report))? = pending.result else {
            Issue.record("\(String(describing: pending.result))")
            return
        }
        #expect(report.to == "host2")
        try pair.awaitReplies(after: MonotonicTime.now())
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }
}
