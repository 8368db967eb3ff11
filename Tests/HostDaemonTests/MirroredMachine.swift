import Foundation
import Glibc
import Hypervisor
import QMP
import Testing
import UnderstudyCore

@testable import HostDaemon

/// A QEMU without a guest whose disk is replicated: its monitor writes in the guest's place.
final class MirroredMachine {
    static let byteCount: UInt64 = 8 << 20
    static let qemu = "/usr/bin/qemu-system-x86_64"
    static var canRun: Bool { [qemu, "/usr/bin/qemu-img"].allSatisfy { FileManager.default.isExecutableFile(atPath: $0) } }

    let folder: String
    let image: String
    let format: String
    let byteCount: UInt64
    let qmp: QMPClient
    /// Nil, as the other, between `unprotect` and `protectAgain`.
    private(set) var replication: DiskReplication!
    private var replica: ReplicaBench!
    private let process = Process()
    private let node = "d0"

    /// - Parameters:
    ///   - bytesPerSecond: how slowly the machine's disk reads and writes; nil: as fast as it can. A machine with a slow disk runs, so that it
    ///     can be stopped, and memory that it uses after it was freed ends it at once.
    ///   - source: where QEMU finds the image's bytes when not in its file: what stands for `file` in its block device, made once the image is.
    init(
        qemu: String = qemu, format: String = "raw", byteCount: UInt64 = byteCount, bytesPerSecond: Int? = nil, hasSecondDisk: Bool = false,
        source: ((_ image: String) throws -> String)? = nil
    ) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-mirror-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        self.format = format
        self.byteCount = byteCount
        image = "\(folder)/disk.\(format)"
        try Self.run(["/usr/bin/qemu-img", "create", "-q", "-f", format, image, "\(byteCount)"])
        let socket = "\(folder)/qmp"
        process.executableURL = URL(fileURLWithPath: qemu)
        let plain = "file.driver=file,file.filename=\(image)"
        let slow = "file.driver=throttle,file.throttle-group=slow,file.file.driver=file,file.file.filename=\(image)"
        let file = try source?(image) ?? (bytesPerSecond == nil ? plain : slow)
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
        if hasSecondDisk {
            try Self.run(["/usr/bin/qemu-img", "create", "-q", "-f", "raw", "\(folder)/second.raw", "1M"])
            process.arguments! += [
                "-blockdev", "driver=raw,node-name=d1,file.driver=file,file.filename=\(folder)/second.raw",
                "-device", "virtio-blk-pci,drive=d1,id=second",
            ]
        }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        qmp = try Self.connect(socket, process)
        (replica, replication) = try Self.protect(qmp, folder: folder)
    }

    /// QEMU makes its socket a moment before it listens there.
    private static func connect(_ socket: String, _ process: Process) throws -> QMPClient {
        while true {
            do throws(QMPError) {
                return try QMPClient(socketPath: socket, greetingTimeout: .seconds(60))
            } catch {
                guard error.code == .connectFailed, process.isRunning else { throw error }
                usleep(5_000)
            }
        }
    }

    /// The two ends of the replication, over whatever images are there.
    private static func protect(
        _ qmp: QMPClient, folder: String, copyMebibytes: Int = 0
    ) throws -> (ReplicaBench, DiskReplication) {
        let disks = try MachineDescription.read(from: qmp).writableDisks
        let replica = try ReplicaBench(lengths: disks.map(\.byteCount), folder: folder, readRate: UInt64(copyMebibytes) << 20)
        var limits = DiskLimits()
        limits.stallMilliseconds = 60_000
        limits.copyMebibytes = copyMebibytes
        let replication = try DiskReplication(
            disks: disks, socketPath: "\(folder)/nbd", owner: (getuid(), getgid()), workingDirectory: "/", limits: limits,
            broken: replica.failed)
        try replication.send(over: replica.stream)
        return (replica, replication)
    }

    /// Ends the protection as the loss of the backup does; what has not been committed does not reach the image.
    func unprotect() throws {
        #expect(replication.stop(qmp) == nil)
        try replica.drop()
        (replica, replication) = (nil, nil)
    }

    /// Begins anew after `unprotect`.
    ///
    /// - Parameter copyMebibytes: the limit for the new copy; 0 for none.
    func protectAgain(copyMebibytes: Int = 0) throws {
        // QEMU's word about the mirrors of before.
        _ = qmp.takeEvents()
        (replica, replication) = try Self.protect(qmp, folder: folder, copyMebibytes: copyMebibytes)
    }

    var copyPath: String { ReplicaBench.path(0, in: folder) }
    var appliedBytes: UInt64 { replica.store.appliedBytes }

    deinit {
        if let replication { _ = replication.stop(nil) }
        (replica, replication) = (nil, nil)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: folder)
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
        try begin()
        try complete()
    }

    /// Hears the backup's word about its image and starts the mirror.
    func begin() throws {
        try wait("the table of the copy") { try replication.learn() }
        try replication.attach(qmp)
    }

    func complete() throws {
        try wait("the mirror") { try replication.progress(qmp).isReady }
        replication.finishCopy()
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

    func copy() throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: copyPath))) }

    private static func run(_ words: [String]) throws {
        let tool = Process()
        tool.executableURL = URL(fileURLWithPath: words[0])
        tool.arguments = Array(words.dropFirst())
        try tool.run()
        tool.waitUntilExit()
        guard tool.terminationStatus == 0 else { throw HostDaemonError(.system, "\(words.joined(separator: " ")) failed") }
    }
}
