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

    init(qemu: String, format: String) throws {
        replica = try ReplicaBench(lengths: [Self.byteCount])
        folder = replica.folder
        self.format = format
        image = "\(folder)/disk.\(format)"
        try Self.run(["/usr/bin/qemu-img", "create", "-q", "-f", format, image, "\(Self.byteCount)"])
        let socket = "\(folder)/qmp"
        process.executableURL = URL(fileURLWithPath: qemu)
        process.arguments = [
            "-machine", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "32", "-S",
            "-blockdev", "driver=\(format),node-name=\(node),file.driver=file,file.filename=\(image)", "-device",
            "virtio-blk-pci,drive=\(node),id=disk",
            "-qmp", "unix:\(socket),server=on,wait=off",
        ]
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
