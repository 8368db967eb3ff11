import Foundation
import Glibc
import Hypervisor
import QMP

@testable import HostDaemon

/// A QEMU without a guest whose disk is replicated: its monitor writes in the guest's place.
final class MirroredMachine {
    static let byteCount: UInt64 = 8 << 20
    static let qemu = "/usr/bin/qemu-system-x86_64"
    static var canRun: Bool { [qemu, "/usr/bin/qemu-img"].allSatisfy { FileManager.default.isExecutableFile(atPath: $0) } }

    let folder: String
    let image: String
    let format: String
    let qmp: QMPClient
    let replication: DiskReplication
    private let replica: ReplicaBench
    private let process = Process()
    private let node = "d0"

    /// - Parameter bytesPerSecond: how slowly the machine's disk reads and writes; nil: as fast as it can. A machine with a slow disk runs, so
    ///   that it can be stopped, and memory that it uses after it was freed ends it at once.
    init(qemu: String = qemu, format: String = "raw", byteCount: UInt64 = byteCount, bytesPerSecond: Int? = nil) throws {
        replica = try ReplicaBench(lengths: [byteCount])
        folder = replica.folder
        self.format = format
        image = "\(folder)/disk.\(format)"
        try Self.run(["/usr/bin/qemu-img", "create", "-q", "-f", format, image, "\(byteCount)"])
        let socket = "\(folder)/qmp"
        process.executableURL = URL(fileURLWithPath: qemu)
        let file =
            bytesPerSecond == nil
            ? "file.driver=file,file.filename=\(image)"
            : "file.driver=throttle,file.throttle-group=slow,file.file.driver=file,file.file.filename=\(image)"
        process.arguments = [
            "-machine", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "32",
            "-object", "throttle-group,id=slow,x-bps-read=\(bytesPerSecond ?? 0),x-bps-write=\(bytesPerSecond ?? 0)",
            "-blockdev", "driver=\(format),node-name=\(node),\(file)", "-device", "virtio-blk-pci,drive=\(node),id=disk",
            "-qmp", "unix:\(socket),server=on,wait=off",
        ]
        if bytesPerSecond == nil {
            process.arguments?.append("-S")
        } else {
            // Every larger piece of memory is given back to the kernel when it is freed.
            process.environment = ProcessInfo.processInfo.environment.merging(["MALLOC_MMAP_THRESHOLD_": "8192"]) { $1 }
        }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        while !FileManager.default.fileExists(atPath: socket) {
            guard process.isRunning else { throw HostDaemonError(.system, "QEMU did not start") }
            usleep(5_000)
        }
        qmp = try QMPClient(socketPath: socket, greetingTimeout: .seconds(60))
        let disks = try MachineDescription.read(from: qmp).writableDisks
        var limits = DiskLimits()
        limits.stallMilliseconds = 60_000
        replication = try DiskReplication(
            disks: disks, socketPath: "\(folder)/nbd", owner: (getuid(), getgid()), workingDirectory: "/", limits: limits,
            broken: replica.failed)
        try replication.send(over: replica.stream)
    }

    deinit {
        _ = replication.stop(nil)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
    }

    var failures: [String] { replica.failures }

    func wait(_ what: String, until condition: () throws -> Bool) throws { try replica.wait(what, until: condition) }

    /// One request in the guest's place, in qemu-io's words.
    func io(_ command: String) throws {
        // As the device does it: through whatever lies above the disk's node.
        let answer = try qmp.humanMonitor("qemu-io -d /machine/peripheral/disk/virtio-backend \"\(command)\"", timeout: .seconds(60))
        guard answer.isEmpty else { throw HostDaemonError(.system, "qemu-io \(command): \(answer)") }
    }

    /// Writes of a megabyte each that the disk takes its time for: they are under way when this returns.
    func beginWrites(_ count: Int) throws {
        for number in 0..<count { try io("aio_write -q -P 7 \(number)M 1M") }
    }

    var isAlive: Bool { process.isRunning }

    /// What of a replication hangs on the disk, as QEMU tells it.
    func traces() throws -> [String] {
        let nodes = try qmp.execute("query-named-block-nodes", arguments: ["flat": true]).array ?? []
        return nodes.compactMap { $0["node-name"]?.string }.filter { $0.hasPrefix("understudy-") }
    }

    func attach() throws {
        try replication.attach(qmp)
        try wait("the mirror") { try replication.progress(qmp).isReady }
    }

    /// The requests of an epoch have been drained: cuts it, lets the backup have it all, and commits it.
    func commit(_ epoch: UInt64) throws {
        replication.close(base: ReplicaBench.identity(0))
        replication.mark(ReplicaBench.identity(epoch))
        replica.store.commit(through: try replica.staged(epoch))
        try wait("an empty stage") { replica.store.backlog == 0 }
    }

    /// What a guest would read of the disk.
    func contents() throws -> [UInt8] {
        // An image's own tables are in its file only after a flush, as QEMU makes one at every stop.
        try io("flush")
        let raw = "\(folder)/compare.raw"
        try Self.run(["/usr/bin/qemu-img", "convert", "-U", "-f", format, "-O", "raw", image, raw])
        return Array(try Data(contentsOf: URL(fileURLWithPath: raw)))
    }

    func copy() -> [UInt8] { replica.image(0) }

    private static func run(_ words: [String]) throws {
        let tool = Process()
        tool.executableURL = URL(fileURLWithPath: words[0])
        tool.arguments = Array(words.dropFirst())
        try tool.run()
        tool.waitUntilExit()
        guard tool.terminationStatus == 0 else { throw HostDaemonError(.system, "\(words.joined(separator: " ")) failed") }
    }
}
