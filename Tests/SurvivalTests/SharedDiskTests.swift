import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// Both hosts see the same images: the guest's writes wait for their epoch's commit, and come to the images in every way in which protection ends.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct SharedDiskTests {
    static let setups = [
        DiskLab.Setup(),
        DiskLab.Setup(
            interface: .virtioSCSI, cache: .writeback, classicDrive: true, qemu: Requirements.qemu10 ?? Requirements.qemu),
    ]

    @Test(arguments: setups) func `the survivor goes on with the very images of the dead host`(setup: DiskLab.Setup) throws {
        let lab = try DiskLab.shared(setup)
        let pair = lab.pair
        try lab.protect()
        #expect(lab.copies == [lab.journal.path, lab.blocks.path])
        #expect(pair.status(.first)?.disks?.allSatisfy { $0.shared == true } == true)
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try lab.expectWhole()
    }

    @Test func `unprotect brings every write home and leaves QEMU as it was found`() throws {
        let lab = try DiskLab.shared(extraMonitor: true)
        let pair = lab.pair
        let before = try lab.blockGraph()
        try lab.protect()
        #expect(try lab.blockGraph() != before)
        _ = try pair.daemons.first.perform(.unprotect(name: ProtectedLab.machine))
        #expect(try lab.blockGraph() == before)
        try lab.expectKnownBlocks("unprotected")
        // And once more, to the end.
        try pair.protect()
        try pair.awaitEpochs(5)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
        try pair.startClients()
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try lab.expectWhole()
    }

    @Test func `a guest whose backup dies goes on alone on its image`() throws {
        let lab = try DiskLab.shared(extraMonitor: true)
        let pair = lab.pair
        let before = try lab.blockGraph()
        try lab.protect()
        try pair.kill(.second)
        let died = MonotonicTime.now()
        try pair.awaitState(.unprotected, on: pair.daemons.first)
        try pair.awaitReplies(after: died)
        #expect(try lab.blockGraph() == before)
        try lab.expectWhole()
    }

    /// The guest writes to the overlays already, and nothing of its output is held yet.
    @Test(arguments: [false, true]) func `a protection that breaks off leaves the guest on its image`(byTheDaemonsDeath: Bool) throws {
        let lab = try DiskLab.shared(faults: ["host1": "disksAttached:1"], extraMonitor: true)
        let pair = lab.pair
        let before = try lab.blockGraph()
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        #expect(try lab.blockGraph() != before)
        if byTheDaemonsDeath {
            pair.daemons.first.process.signal(SIGKILL)
            _ = pair.daemons.first.process.wait(milliseconds: 60_000)
            try pair.restartFirstDaemon()
        } else {
            try pair.kill(.second)
            pair.daemons.first.process.signal(SIGCONT)
        }
        try pair.wait(seconds: 60, for: "the guest's own disks") { (try? lab.blockGraph()) == before }
        try lab.expectKnownBlocks("broken off")
    }

    @Test func `a daemon that finds writes held back by a dead one brings them home before anything leaves`() throws {
        let lab = try DiskLab.shared(extraMonitor: true)
        let pair = lab.pair
        let before = try lab.blockGraph()
        try lab.protect()
        for daemon in [pair.daemons.second, pair.daemons.first] {
            daemon.process.signal(SIGKILL)
            _ = daemon.process.wait(milliseconds: 60_000)
        }
        let died = MonotonicTime.now()
        try pair.restartFirstDaemon()
        try pair.awaitState(.unprotected, on: pair.daemons.first)
        try pair.awaitReplies(after: died)
        #expect(try lab.blockGraph() == before)
        try lab.expectWhole()
    }

    /// Overlays are replaced after 2 MiB here.
    @Test func `overlays do not grow without end`() throws {
        let lab = try DiskLab.shared(settings: "detection-ms = 1500\ndisks = { spill-mib = 8 }", extraMonitor: true)
        let pair = lab.pair
        let before = try lab.blockGraph()
        try lab.protect()
        func overlays() -> [Int] {
            // QEMU has other things to do than to answer.
            usleep(50_000)
            return ((try? lab.blockGraph()) ?? []).compactMap { $0.hasPrefix("node understudy-overlay-") ? Int($0.dropFirst(24)) : nil }
        }
        try pair.wait(seconds: 60, for: "the third overlays, alone; there are \(overlays())") {
            overlays().count == 2 && overlays().allSatisfy { $0 >= 2000 }
        }
        #expect(pair.status(.first)?.state == .protected)
        try lab.expectKnownBlocks("renewed")
        _ = try pair.daemons.first.perform(.unprotect(name: ProtectedLab.machine))
        #expect(try lab.blockGraph() == before)
        try pair.protect()
        try pair.wait(seconds: 60, for: "renewed overlays") { overlays().contains { $0 >= 1000 } }
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try lab.expectWhole()
    }

    @Test func `a machine with shared disks is moved back and forth`() throws {
        let lab = try DiskLab.shared()
        let pair = lab.pair
        try lab.protect()
        _ = try pair.switchOver()
        try pair.awaitReplies(after: MonotonicTime.now())
        try lab.expectKnownBlocks("moved")
        _ = try pair.switchOver(back: true, protectBack: true)
        try pair.awaitState(.protected, on: pair.daemon(.first))
        #expect(pair.status(.first)?.disks?.allSatisfy { $0.shared == true } == true)
        try pair.awaitEpochs(5)
        try lab.expectKnownBlocks("moved back")
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try lab.expectWhole()
    }
}
