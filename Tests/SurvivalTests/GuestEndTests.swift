import Demonstration
import Glibc
import HostAPI
import QMP
import Testing
import UnderstudyCore

/// The guest or its QEMU ends while both hosts live.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct GuestEndTests {
    /// The daemon's word causes the takeover, and not a silence, which would have to last 5 seconds.
    @Test func aKilledQEMUIsTakenOverWithoutWaitingForTheDetection() throws {
        let pair = try ProtectedLab(settings: "detection-ms = 5000")
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(10)
        let killed = MonotonicTime.now()
        Glibc.kill(pair.activePID, SIGKILL)
        try pair.awaitTakeover()
        let takeover = try #require(pair.status(.second)?.takeover)
        #expect(takeover.reason.contains("QEMU ended"), "\(takeover)")
        try pair.awaitReplies(after: killed)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
        try pair.awaitState(.ended, on: pair.daemon(.first))
        try pair.wait(seconds: 60, for: "the old host to be tidied up") { pair.leftInterfaces(on: .first).isEmpty }
        #expect(try pair.record().map { $0.owner == "host2" && $0.confirmed } == true)
    }

    /// QEMU dies between its stop and the end of its save, when half of an epoch lies in the daemon: the backup goes on from the epoch before.
    @Test(arguments: ["checkpointStopped:12", "checkpointCopied:12"])
    func aQEMUThatDiesInMidCheckpointIsTakenOver(point: String) throws {
        let pair = try ProtectedLab(faults: ["host1": point], settings: "detection-ms = 5000")
        try pair.startClients()
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        let killed = MonotonicTime.now()
        Glibc.kill(pair.activePID, SIGKILL)
        pair.daemons.first.process.signal(SIGCONT)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: killed)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(point): \(verdict.json)\n\(pair.logs)")
        try pair.awaitState(.ended, on: pair.daemon(.first))
        #expect(pair.log(of: .first).contains("QEMU ended without a shutdown of the guest"))
    }

    @Test func quitEndsProtectionAndStartsNothing() throws {
        let pair = try ProtectedLab(extraMonitor: true)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        let monitor = try QMPClient(socketPath: pair.secondMonitor)
        _ = try? monitor.execute("quit")
        try expectTheEnd(of: pair)
    }

    @Test func aGuestThatPowersItselfOffIsNotStartedElsewhere() throws {
        let pair = try ProtectedLab(lifeSeconds: 15)
        try pair.startClients()
        try pair.protect()
        #expect(pair.status(.first)?.state == .protected, "the guest lives long enough to be protected")
        try pair.wait(seconds: 60, for: "the guest to power itself off") { !pair.lives(pair.activePID) }
        try expectTheEnd(of: pair)
    }

    /// Nothing runs, nothing is left on either host, and the arbiter has forgotten the machine.
    private func expectTheEnd(of pair: ProtectedLab) throws {
        try pair.awaitState(.ended, on: pair.daemon(.first))
        try pair.wait(seconds: 60, for: "an empty pair of hosts") {
            pair.machines(on: .first).isEmpty && pair.machines(on: .second).isEmpty && pair.leftInterfaces(on: .second).isEmpty
                && pair.leftInterfaces(on: .first).isEmpty
        }
        #expect(try pair.record() == nil)
        #expect(pair.status(.second)?.takeover == nil)
        #expect(pair.stopClients().second?.frames == 0, "no frame of a guest may have come out of the backup host")
    }
}
