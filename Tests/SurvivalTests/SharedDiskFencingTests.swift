import Demonstration
import Foundation
import Glibc
import HostAPI
import QMP
import Testing

/// A primary that fell between the backup's acknowledgement and its own write to a shared image, and wakes in a world that went on.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct SharedDiskFencingTests {
    /// The daemon stands still with an acknowledged epoch that its image does not have yet.
    private static let beforeTheWrite = ["host1": "acknowledged:9"]

    @Test func `nobody takes over while the fallen primary may still write`() throws {
        let lab = try DiskLab.shared(faults: Self.beforeTheWrite)
        let pair = lab.pair
        try pair.startClients()
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        try pair.wait(seconds: 60, for: "the takeover that waits") { pair.log(of: .second).contains("the takeover waits until host1") }
        let image = try lab.contents()
        for _ in 0..<200 {
            #expect(pair.status(.second)?.state == .takingOver && pair.status(.second)?.takeover == nil)
            usleep(2_000)
        }
        #expect(try lab.contents() == image)
        // Awake again, it learns that it has lost, and lets go of the images.
        let woken = MonotonicTime.now()
        pair.daemons.first.process.signal(SIGCONT)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: woken)
        try pair.awaitState(.ended, on: pair.daemons.first)
        lab.noteSharedImages()
        try lab.expectWhole()
    }

    @Test func `a fenced primary that is woken after the takeover reaches no image`() throws {
        let agent = try Agent()
        let lab = try DiskLab.shared(faults: Self.beforeTheWrite, settings: ProtectedLab.patient + "\n" + agent.settings)
        let pair = lab.pair
        try agent.aim(at: pair.daemons.first.process.pid)
        try pair.startClients()
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        pair.guest.process.signal(SIGSTOP)
        let fell = MonotonicTime.now()
        try pair.awaitTakeover()
        #expect(try agent.calls() == ["off", "status"])
        try pair.awaitReplies(after: fell)
        try lab.expectKnownBlocks("taken over")
        let image = try lab.stopSurvivor()
        let written = Self.bytesWritten(by: pair.guest.process.pid)
        pair.guest.process.signal(SIGCONT)
        try pair.wait(seconds: 60, for: "writes of the woken guest") {
            Self.bytesWritten(by: pair.guest.process.pid) > written + 4 << 20
        }
        #expect(try lab.contents() == image)
        kill(pair.activePID, SIGCONT)
        pair.guest.process.signal(SIGKILL)
        lab.noteSharedImages()
        try lab.expectWhole()
    }

    @Test func `without fencing the write of a woken primary would be seen`() throws {
        let lab = try DiskLab.shared(faults: Self.beforeTheWrite, environment: ["UNDERSTUDY_UNSAFE_SKIP_FENCING": "1"])
        let pair = lab.pair
        try pair.startClients()
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        let fell = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: fell)
        // The survivor writes again where the fallen primary was about to.
        let before = try pair.lab.blockState(checking: true).written
        try pair.wait(seconds: 60, for: "further writes") { ((try? pair.lab.blockState(checking: false).written) ?? 0) > before + 2_000 }
        let image = try lab.stopSurvivor()
        pair.daemons.first.process.signal(SIGCONT)
        try pair.wait(seconds: 60, for: "the foreign write") { (try? lab.contents()) != image }
    }

    @Test func `a copy of the image is not taken for the image`() throws {
        let lab = try DiskLab.shared()
        let pair = lab.pair
        let copy = "\(pair.lab.host2.folder)/other.raw"
        try FileManager.default.copyItem(atPath: lab.journal.path, toPath: copy)
        let monitor = try QMPClient(socketPath: pair.guest.qmp)
        let name = try #require(try monitor.execute("query-block")[0]?["qdev"]?.string).split(separator: "/")
        monitor.close()
        var request = ProtectRequest(name: ProtectedLab.machine, qmp: pair.guest.qmp, backup: "host2", intervalMilliseconds: 25)
        request.sharedDisks = true
        request.diskPaths = [String(name.count > 2 ? name[2] : name[0]): copy]
        let refused = #expect(throws: HostAPIError.self) { _ = try pair.daemons.first.perform(.protect(request)) }
        #expect(refused?.message.contains("is not the image") == true, "\(String(describing: refused))")
    }

    private static func bytesWritten(by pid: pid_t) -> Int {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/io", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("wchar:") }
        return line.flatMap { Int($0.dropFirst(6).trimmingCharacters(in: .whitespaces)) } ?? 0
    }
}

/// A fence agent that cuts a host off by killing its daemon, which alone writes to shared images there.
private final class Agent {
    private let folder: String

    init() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-fence-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let script = """
            #!/bin/sh
            while read -r line; do
                case "$line" in action=*) action=${line#action=} ;; target=*) target=${line#target=} ;; esac
            done
            echo "$action" >> "\(folder)/calls"
            case "$action" in
                off) kill -9 "$(cat "$target")" ;;
                status) if [ -e "/proc/$(cat "$target")/root/." ]; then exit 0; else exit 2; fi ;;
                *) exit 1 ;;
            esac
            """
        try script.write(toFile: "\(folder)/agent", atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(folder)/agent")
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    var settings: String {
        "fencing = { agent = \"\(folder)/agent\", hosts = { host1 = { target = \"\(folder)/pid\" } } }"
    }

    func aim(at pid: pid_t) throws { try "\(pid)".write(toFile: "\(folder)/pid", atomically: true, encoding: .utf8) }

    func calls() throws -> [String] {
        try String(contentsOfFile: "\(folder)/calls", encoding: .utf8).split(separator: "\n").map(String.init)
    }
}
