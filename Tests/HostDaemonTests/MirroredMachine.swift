import Foundation
import Glibc
import Hypervisor
import Links
import QMP
import Synchronization
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
    let qmp: QMPClient
    let replication: DiskReplication
    let store: DiskStore
    private let process = Process()
    private let listener: CheckpointListener
    private let events: Events
    private let node = "d0"

    private final class Events: Sendable {
        let staged = Mutex<[UInt64: UInt64]>([:])
        let failures = Mutex<[String]>([])
    }

    init(qemu: String, format: String) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-mirror-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
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
        let events = Events()
        self.events = events
        let identity = DiskBench.identity
        store = try DiskStore(
            images: [try RawImage(path: "\(folder)/copy.raw", byteCount: Self.byteCount)], memoryBytes: 64 << 20, fileBytes: 1 << 30,
            folder: folder
        ) { event in
            switch event {
            case .staged(let identity, let entry, _): events.staged.withLock { $0[identity.epoch] = entry }
            case .failed(let reason): events.failures.withLock { $0.append(reason) }
            case .ended: break
            }
        }
        var limits = DiskLimits()
        limits.stallMilliseconds = 60_000
        replication = try DiskReplication(
            disks: disks, socketPath: "\(folder)/nbd", owner: (getuid(), getgid()), workingDirectory: "/", limits: limits
        ) { reason in events.failures.withLock { $0.append(reason) } }
        let (session, key) = (try CheckpointSessionID.random(), try CheckpointSessionKey.random())
        let store = store
        listener = try CheckpointListener(
            host: "127.0.0.1", port: 0,
            handlers: .init(key: { $0 == session ? key : nil }, accepted: { stream, _ in try! store.receive(stream, base: identity) }))
        let stream = try SealedStream.connect(
            host: "127.0.0.1", port: listener.port, session: session, key: key, deadline: .now + .seconds(30))
        try stream.send(.hello(WireMessage.Hello(role: .primary, base: identity)), deadline: .now + .seconds(30))
        try replication.send(over: stream)
    }

    deinit {
        _ = replication.stop(nil)
        listener.stop()
        try? store.finish()
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: folder)
    }

    var failures: [String] { events.failures.withLock { $0 } }

    func wait(_ what: String, until condition: () throws -> Bool) throws {
        let end = MonotonicClock.now + 120_000_000_000
        while try !condition() {
            guard MonotonicClock.now < end else { throw HostDaemonError(.system, "waited in vain for \(what); \(failures)") }
            usleep(1000)
        }
    }

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
        let identity = { EpochIdentity(generation: 1, sessionNonce: 2, epoch: $0) }
        replication.close(epoch, identity: identity)
        replication.mark(identity(epoch))
        try wait("epoch \(epoch)") { events.staged.withLock { $0[epoch] != nil } }
        store.commit(through: events.staged.withLock { $0[epoch]! })
        try wait("an empty stage") { store.backlog == 0 }
    }

    /// What a guest would read of the disk.
    func contents() throws -> [UInt8] {
        // An image's own tables are in its file only after a flush, as QEMU makes one at every stop.
        try io("flush")
        let raw = "\(folder)/compare.raw"
        try Self.run(["/usr/bin/qemu-img", "convert", "-U", "-f", format, "-O", "raw", image, raw])
        return Array(try Data(contentsOf: URL(fileURLWithPath: raw)))
    }

    func copy() throws -> [UInt8] { Array(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/copy.raw"))) }

    private static func run(_ words: [String]) throws {
        let tool = Process()
        tool.executableURL = URL(fileURLWithPath: words[0])
        tool.arguments = Array(words.dropFirst())
        try tool.run()
        tool.waitUntilExit()
        guard tool.terminationStatus == 0 else { throw HostDaemonError(.system, "\(words.joined(separator: " ")) failed") }
    }
}
