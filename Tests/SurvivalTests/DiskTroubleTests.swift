import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// The backup's storage fails: the guest goes on with its own disks, and everybody is told.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct DiskTroubleTests {
    /// The folder of the copies on the second host.
    private func folder(_ pair: ProtectedLab) -> String { "\(pair.lab.host2.folder)/state/disks" }

    /// Daemons get a copy of this process's mounts.
    private func restartBackup(_ pair: ProtectedLab) throws {
        pair.daemon(.second).process.signal(SIGKILL)
        _ = pair.daemon(.second).process.wait(milliseconds: 60_000)
        try pair.restart(.second)
    }

    /// Protection ends in these words on both hosts, while the clients are served and the guest writes and checks its disk.
    private func expectEnd(_ lab: DiskLab, after trouble: UInt64, saying words: [String]) throws {
        let pair = lab.pair
        try pair.awaitState(.unprotected, on: pair.daemon(.first), seconds: 60)
        try pair.awaitReplies(after: trouble)
        for side in [ProtectedLab.Side.first, .second] {
            #expect(words.allSatisfy { pair.log(of: side).contains($0) }, "\(pair.logs)")
        }
        let before = try pair.lab.blockState(checking: true).written
        try pair.wait(seconds: 60, for: "further writes") { ((try? pair.lab.blockState(checking: false).written) ?? 0) > before + 50 }
        try lab.expectKnownBlocks("alone")
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    @Test func `a backup without room for the copies is refused, and one whose disk fills up is given up in words`() throws {
        let lab = try DiskLab()
        let pair = lab.pair
        let folder = folder(pair)
        try pair.lab.host2.tool("mkdir", "-p", folder)
        guard mount("tmpfs", folder, "tmpfs", 0, "size=1m") == 0 else { throw SurvivalFailure("no tmpfs: errno \(errno)") }
        defer { umount2(folder, CInt(MNT_DETACH)) }
        try restartBackup(pair)
        let refused = protect(pair)
        #expect(refused?.message.contains("too little room for the copies on host2") == true, "\(String(describing: refused))")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)

        guard mount("tmpfs", folder, "tmpfs", UInt(MS_REMOUNT), "size=39m") == 0 else { throw SurvivalFailure("no room: errno \(errno)") }
        try lab.protect()
        #expect(pair.log(of: .second).contains("event=disk-room-short"), "\(pair.logs)")
        let filled = MonotonicTime.now()
        // The copies' file system gets no page more from now on.
        let path = "\(folder)/filler"
        #expect(FileManager.default.createFile(atPath: path, contents: nil))
        let filler = try #require(FileHandle(forWritingAtPath: path))
        while (try? filler.write(contentsOf: Data(repeating: 1, count: 4096))) != nil {}
        try expectEnd(lab, after: filled, saying: [lab.copies[1], "No space left on device", "make room"])
    }

    private func protect(_ pair: ProtectedLab) -> HostAPIError? {
        let request = ProtectRequest(name: ProtectedLab.machine, qmp: pair.guest.qmp, backup: "host2", intervalMilliseconds: 25)
        do throws(HostAPIError) {
            _ = try pair.daemons.first.perform(.protect(request))
            return nil
        } catch { return error }
    }

    /// Its server has writes of QEMU that nobody reads.
    @Test func `a daemon that stands still while the disks are copied does not hold the guest's writes`() throws {
        let lab = try DiskLab(faults: ["host1": "disksAttached:1"], settings: ProtectedLab.patient + "\ndisks.stall-ms = 400")
        let pair = lab.pair
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        let before = try pair.lab.blockState(checking: false).written
        try pair.wait(seconds: 60, for: "further writes") { ((try? pair.lab.blockState(checking: false).written) ?? 0) > before + 200 }
        pair.daemons.first.process.signal(SIGCONT)
        try pair.wait(seconds: 60, for: "the word that the copy broke off") { pair.log(of: .first).contains("event=failed") }
        try lab.expectKnownBlocks("broken off")
    }

    @Test func `a backup whose file system hangs is given up, and the guest does not wait for it`() throws {
        let lab = try DiskLab(settings: ProtectedLab.patient + "\ndisks.stall-ms = 400")
        let pair = lab.pair
        let (folder, image) = (folder(pair), "\(pair.lab.host2.folder)/storage.ext4")
        try pair.lab.host2.tool("mkdir", "-p", folder)
        try pair.lab.host2.tool("truncate", "-s", "256M", image)
        try pair.lab.host2.tool("mkfs.ext4", "-q", "-F", image)
        // A device that is let go of while it is mounted ends with the mount.
        let device = try pair.lab.host2.tool("losetup", "--find", "--show", image).trimmingCharacters(in: .whitespacesAndNewlines)
        let mounted = mount(device, folder, "ext4", 0, nil)
        try pair.lab.host2.tool("losetup", "--detach", device)
        guard mounted == 0 else { throw SurvivalFailure("no file system on \(device)") }
        defer { umount2(folder, CInt(MNT_DETACH)) }
        try restartBackup(pair)
        try lab.protect()
        try pair.lab.host2.tool("fsfreeze", "--freeze", folder)
        defer { _ = try? pair.lab.host2.tool("fsfreeze", "--unfreeze", folder) }
        try expectEnd(lab, after: MonotonicTime.now(), saying: [lab.copies[1], "has taken nothing"])
    }
}
