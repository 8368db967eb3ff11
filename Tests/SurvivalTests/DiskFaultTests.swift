import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// Hosts of a guest with disks die at every point of an epoch, and at random moments: the survivor's disks are those of its memory.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct DiskFaultTests {
    static let primaryPoints = [
        "checkpointAsked:15", "checkpointStopped:14", "checkpointSealed:13", "checkpointCopied:12", "checkpointResumed:11",
        "epochMarked:10",
        "epochSending:9", "epochSent:8", "acknowledged:7", "released:6", "acknowledged:1",
    ]

    @Test func `the primary may die at every point of an epoch`() throws {
        let points = Self.primaryPoints
        let lab = try DiskLab(faults: ["host1": points[0], "host2": points[1]])
        try FaultSeries(pair: lab.pair, check: lab.expectKnownBlocks).killPrimaries(at: points)
    }

    static let backupPoints = ["writesStaged:9", "epochStaged:8", "epochAcknowledged:7", "epochApplied:6"]
    static let takeoverPoints = ["takeoverDecided:1", "disksFinished:1", "standbyActivated:1"]

    /// The backup stands still, the primary's host dies meanwhile: awake again, the backup takes over.
    @Test func `the backup may stand still at every point of an epoch`() throws {
        let lab = try DiskLab(faults: ["host2": Self.backupPoints[0]], settings: "detection-ms = 1500")
        try FaultSeries(pair: lab.pair, check: lab.expectKnownBlocks).wakeBackups(at: Self.backupPoints, inTakeover: Self.takeoverPoints)
    }

    /// How many hosts die at random moments; UNDERSTUDY_DISK_KILLS makes it a campaign.
    static let kills = Int(ProcessInfo.processInfo.environment["UNDERSTUDY_DISK_KILLS"] ?? "") ?? 3

    @Test(arguments: [DiskLab.Setup(format: .qcow2, interface: .virtioSCSI), DiskLab.Setup(cache: .writeback)])
    func `hosts may die at random moments, one after the other`(setup: DiskLab.Setup) throws {
        var numbers = SeededNumbers(seed: UInt64(Self.kills) &+ 20_261_121)
        let lab = try DiskLab(setup)
        for kill in 1...Self.kills {
            try lab.protect(epochs: 3)
            usleep(useconds_t.random(in: 0...300_000, using: &numbers))
            try lab.pair.kill(lab.pair.active)
            let died = MonotonicTime.now()
            try lab.pair.awaitTakeover()
            try lab.pair.awaitReplies(after: died)
            guard kill < Self.kills else { break }
            try lab.expectKnownBlocks("death \(kill)")
            let verdict = try lab.pair.verdict()
            #expect(verdict.passed, "death \(kill): \(verdict.json)\n\(lab.pair.logs)")
            try lab.pair.revive(lab.pair.active.other)
        }
        try lab.expectWhole()
    }
}
