import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// The storage of shared images hangs, or is a block device, or outlives its guest.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct SharedStorageTests {
    @Test func `storage that hangs on the primary is told, and the backup takes over as soon as it can be certain`() throws {
        var mounted: LoopedStorage?
        defer { mounted?.remove() }
        let lab = try DiskLab.shared(
            settings: ProtectedLab.patient + "\ndisks.stall-ms = 400",
            storage: { folder in
                let storage = try LoopedStorage(mountedAt: "\(folder)/storage")
                mounted = storage
                return storage.path
            })
        let (pair, storage) = (lab.pair, try #require(mounted))
        // Daemons get a copy of this process's mounts.
        for side in [ProtectedLab.Side.first, .second] {
            pair.daemon(side).process.signal(SIGKILL)
            _ = pair.daemon(side).process.wait(milliseconds: 60_000)
            try pair.restart(side)
        }
        try lab.protect()
        try storage.freeze(true)
        let frozen = MonotonicTime.now()
        try pair.wait(seconds: 60, for: "the takeover that waits") { pair.log(of: .second).contains("event=fencing") }
        #expect(["event=images-slow", "event=images-failed"].allSatisfy { pair.log(of: .first).contains($0) }, "\(pair.logs)")
        // The write that hangs may still reach the image, so nobody goes on before it has ended.
        #expect(pair.status(.second)?.takeover == nil)
        try storage.freeze(false)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: frozen)
        lab.noteSharedImages()
        try lab.expectWhole()
    }

    @Test func `a takeover on block devices`() throws {
        var devices: [LoopedStorage] = []
        defer { for device in devices { device.remove() } }
        let lab = try DiskLab.shared(
            DiskLab.Setup(classicDrive: true),
            over: { image in
                devices.append(try LoopedStorage(over: image.path))
                return DiskImage(path: devices.last!.path, format: .raw)
            })
        let pair = lab.pair
        try lab.protect()
        #expect(lab.copies == devices.map(\.path))
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try lab.expectWhole()
    }

    /// As libvirt starts its machines: the guest's end is not QEMU's.
    @Test func `a guest that ends in a QEMU that goes on gives its disks back`() throws {
        let lab = try DiskLab.shared(
            extraMonitor: true,
            change: { launch in
                launch.furtherArguments += ["-no-shutdown"]
                launch.lifeSeconds = 30
            })
        let pair = lab.pair
        let before = try lab.blockGraph()
        try lab.protect()
        #expect(try lab.blockGraph() != before)
        try pair.awaitState(.ended, on: pair.daemons.first, seconds: 120)
        let after = try lab.blockGraph()
        #expect(after == before, "\(after)\n\(pair.logs)")
        #expect(try DiskRecord.read(from: lab.journal, ending: .crashed).isClean)
    }
}

/// A loop device, or a file system on one that can be made to hang.
private final class LoopedStorage {
    let path: String
    private var isMounted = false

    init(over file: String) throws { path = try Self.run("losetup", "--find", "--show", file) }

    init(mountedAt folder: String) throws {
        path = folder
        let image = folder + ".ext4"
        for words in [["mkdir", "-p", folder], ["truncate", "-s", "256M", image], ["mkfs.ext4", "-q", "-F", image]] {
            _ = try Self.run(words)
        }
        // A device that is let go of while it is mounted ends with the mount.
        let device = try Self.run("losetup", "--find", "--show", image)
        isMounted = mount(device, folder, "ext4", 0, nil) == 0
        _ = try Self.run("losetup", "--detach", device)
        guard isMounted else { throw SurvivalFailure("no file system on \(device)") }
    }

    func freeze(_ isFrozen: Bool) throws { _ = try Self.run("fsfreeze", isFrozen ? "--freeze" : "--unfreeze", path) }

    func remove() {
        if isMounted {
            _ = try? Self.run("fsfreeze", "--unfreeze", path)
            umount2(path, CInt(MNT_DETACH))
        } else {
            _ = try? Self.run("losetup", "--detach", path)
        }
    }

    private static func run(_ words: String...) throws -> String { try run(words) }

    private static func run(_ words: [String]) throws -> String {
        let (process, output) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw SurvivalFailure("\(words.joined(separator: " ")): \(process.terminationStatus)") }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
