import Demonstration
import Glibc
import HostAPI
import Hypervisor
import QMP
import Testing

/// A guest with one card on a tap and one on `-netdev stream`, connected to a switch that outlives its host, with clients at both.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct SwitchedCardTests {
    private static let ports = [LabAddresses.tap, "netdev:net1"]

    /// Only the daemon dies, so that the old guest runs on behind its gates: QEMU's filter drops what the guest sends.
    @Test func aCardOnNoTapIsTakenOverAndItsGateSurvivesTheDaemon() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient, secondNetwork: .switched)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(20)
        let before = try #require(pair.status(.first))
        #expect(before.taps == Self.ports)
        #expect(before.output?.cards.map(\.tap) == Self.ports && before.output?.cards.map(\.kind) == ["tap", "stream"])
        #expect(before.output?.cards.allSatisfy { $0.releasedFrames > 0 && $0.droppedFrames == 0 } == true, "\(before)")

        kill(pair.daemon(.first).process.pid, SIGKILL)
        let died = MonotonicTime.now()
        try pair.awaitTakeover(seconds: 60)
        #expect(pair.status(.second)?.taps == ["us-\(LabAddresses.tap)", "netdev:net1"])
        try pair.awaitReplies(after: died, seconds: 60)
        #expect(try left(in: pair.guest.qmp).contains("understudy-gate-net1"))

        try pair.restart(.first)
        try pair.wait(seconds: 60, for: "the old guest's end") { pair.machines(on: .first).isEmpty }
        let verdicts = try pair.verdicts()
        #expect(verdicts.count == 2 && verdicts.allSatisfy(\.passed), "\(verdicts.map(\.json))\n\(pair.logs)")
    }

    /// An e1000 on `-netdev dgram`; the second host reaches the switch by an address of its own, which `standby.netdevs` names.
    @Test func aCardOnDatagramsIsTakenOverFromAnotherAddress() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient, secondNetwork: .datagrams)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(20)
        #expect(pair.status(.first)?.output?.cards.map(\.kind) == ["tap", "dgram"])
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover(seconds: 60)
        try pair.awaitReplies(after: died, seconds: 60)
        let verdicts = try pair.verdicts()
        #expect(verdicts.count == 2 && verdicts.allSatisfy(\.passed), "\(verdicts.map(\.json))\n\(pair.logs)")
    }

    /// The guest comes back to its first host by a switchover, so that a machine that was a standby once is protected, and is given up in good
    /// order at last.
    @Test(.enabled(if: Requirements.qemu10 != nil, "needs UNDERSTUDY_QEMU_10, which scripts/fetch-qemu10 prints"))
    func aCardOnNoTapSurvivesItsHostAndUnprotectLeavesNothing() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient, qemu: Requirements.qemu10!, secondNetwork: .switched)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(20)
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover(seconds: 60)
        try pair.awaitReplies(after: died, seconds: 60)
        let verdicts = try pair.verdicts()
        #expect(verdicts.count == 2 && verdicts.allSatisfy(\.passed), "\(verdicts.map(\.json))\n\(pair.logs)")

        try pair.revive(.first)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        #expect(pair.status(.second)?.output?.cards.map(\.kind) == ["tap", "stream"])
        _ = try pair.switchOver()
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        let moved = try pair.verdicts()
        #expect(moved.count == 2 && moved.allSatisfy { $0.passed(reorderedDatagrams: 3) }, "\(moved.map(\.json))\n\(pair.logs)")

        try pair.protect()
        try pair.awaitEpochs(5)
        let monitor = try #require(pair.status(.first)?.qemu?.qmp)
        _ = try pair.daemon(.first).perform(.unprotect(name: ProtectedLab.machine))
        #expect(try left(in: monitor) == [])
    }

    /// The primary's daemon and the backup's host die together: nobody opens the gate but a daemon that has asked the arbiter.
    @Test func aLaterDaemonFindsTheClosedFilterAndGoesOnAlone() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient, extraMonitor: true, secondNetwork: .switched)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(20)
        kill(pair.daemon(.first).process.pid, SIGKILL)
        try pair.kill(.second)
        #expect(try left(in: pair.secondMonitor) == ["understudy-gate-net1", "understudy-in-net1", "understudy-out-net1"])
        // What was released and on its way has come.
        usleep(200_000)
        let seen = pair.furtherReplies
        usleep(500_000)
        #expect(pair.furtherReplies == seen, "the gate is closed")

        let restarted = MonotonicTime.now()
        try pair.restart(.first)
        try pair.awaitState(.unprotected, on: pair.daemon(.first))
        try pair.awaitReplies(after: restarted, seconds: 60)
        #expect(try left(in: pair.secondMonitor) == [])
        let verdicts = try pair.verdicts()
        #expect(verdicts.count == 2 && verdicts.allSatisfy(\.passed), "\(verdicts.map(\.json))\n\(pair.logs)")
    }

    /// The control: the judgement of the card's clients sees when what the guest sends there is not held.
    @Test func aCardWhoseFilterIsTakenAwayIsFoundOut() throws {
        // The daemon stands still before it sends an epoch, so nothing is committed from there on.
        let pair = try ProtectedLab(
            faults: ["host1": "epochSending:30"], settings: "detection-ms = 3000", extraMonitor: true, secondNetwork: .switched)
        try pair.startClients()
        try pair.protect()
        try pair.awaitFault(on: pair.lab.host1)
        let monitor = try QMPClient(socketPath: pair.secondMonitor)
        try monitor.execute("object-del", arguments: ["id": "understudy-gate-net1"])
        monitor.close()
        try pair.expectTheSecondCardToBeFoundOut()
    }

    /// Somebody else at QEMU's monitor takes the filter away: the gate cannot be trusted any more, and that is said.
    @Test func aFilterThatIsTakenAwayEndsProtectionVisibly() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient, extraMonitor: true, secondNetwork: .switched)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(20)
        let monitor = try QMPClient(socketPath: pair.secondMonitor)
        try monitor.execute("object-del", arguments: ["id": "understudy-gate-net1"])
        monitor.close()
        try pair.awaitState(.unprotected, on: pair.daemon(.first))
        #expect(pair.log(of: .first).contains("event=gate-disturbed"))
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        try pair.wait(seconds: 60, for: "nothing of the filter in QEMU") { (try? left(in: pair.secondMonitor).isEmpty) == true }
    }

    /// What is Understudy's in a QEMU: its objects and character devices.
    private func left(in monitor: String) throws -> [String] {
        let qmp = try QMPClient(socketPath: monitor, greetingTimeout: .seconds(30))
        defer { qmp.close() }
        let objects = try qmp.execute("qom-list", arguments: ["path": "/objects"]).array?.compactMap { $0["name"]?.string } ?? []
        let devices = try qmp.execute("query-chardev").array?.compactMap { $0["label"]?.string } ?? []
        return (objects + devices).filter { $0.hasPrefix("understudy") }.sorted()
    }
}
