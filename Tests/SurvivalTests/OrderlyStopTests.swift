import Demonstration
import Glibc
import HostAPI
import OutputRelay
import Testing
import UnderstudyCore

/// A daemon is stopped for maintenance.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct OrderlyStopTests {
    /// What the runbook says: move everything away, stop the daemon, work, start it, bring the machine back.
    @Test func aHostIsEmptiedStoppedAndFilledAgain() throws {
        let pair = try ProtectedLab.moving()
        let moved = try pair.lab.host1.attempt(RecoveryRefusalTests.command(pair.daemons.first, ["switchover", "--all"]))
        #expect(moved.status == 0 && moved.output.contains("guest: moved from host1 to host2"), "\(moved)")
        pair.settle(on: .second)
        let none = try pair.lab.host1.attempt(RecoveryRefusalTests.command(pair.daemons.first, ["switchover", "--all"]))
        #expect(none.status == 0 && none.output.contains("no machine is protected on host host1"), "\(none)")
        pair.daemons.first.process.signal(SIGTERM)
        #expect(pair.daemons.first.process.wait(milliseconds: 60_000) != nil)
        try pair.awaitReplies(after: MonotonicTime.now())
        try pair.restart(.first)
        let command = ["switchover", ProtectedLab.machine, "--back", "--protect-back", "--json"]
        let back = try pair.lab.host2.attempt(RecoveryRefusalTests.command(pair.daemons.second, command))
        let last = back.output.split(separator: "\n").last ?? ""
        #expect(back.status == 0 && last.contains("\"to\":\"host1\"") && last.contains("\"protected\":true"), "\(back)")
        pair.settle(on: .first)
        try pair.awaitState(.protected, on: pair.daemon(.first), seconds: 60)
        try pair.awaitReplies(after: MonotonicTime.now())
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    /// Stopped without a word before, the daemon leaves its guest behind the closed gate, and the backup goes on.
    @Test func aDaemonThatIsStoppedWhileItProtectsIsTakenOver() throws {
        let pair = try ProtectedLab.moving()
        let stopped = MonotonicTime.now()
        pair.daemons.first.process.signal(SIGTERM)
        #expect(pair.daemons.first.process.wait(milliseconds: 60_000) != nil)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: stopped)
        #expect(try pair.gate()?.isClosed == true)
        try pair.restart(.first)
        try pair.awaitState(.ended, on: pair.daemons.first)
        try pair.expectTidy(.first)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }
}
