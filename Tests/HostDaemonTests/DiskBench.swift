import Foundation
import Glibc
import Links
import Synchronization
import UnderstudyCore

@testable import HostDaemon

/// A primary's write queue and a backup's store with a real sealed stream between them, and a model of what the disks must hold.
final class DiskBench {
    static let identity = EpochIdentity(generation: 1, sessionNonce: 2, epoch: 0)

    let folder: String
    let queue: WriteQueue
    let store: DiskStore
    let lengths: [Int]
    /// What the guest has written to each disk.
    private(set) var model: [[UInt8]]
    private let sender: WriteSender
    private let events: Events
    private let listener: CheckpointListener

    /// What the store has said.
    private final class Events: Sendable {
        let staged = Mutex<[UInt64: UInt64]>([:])
        let failures = Mutex<[String]>([])
    }

    /// - Parameters:
    ///   - lengths: the disks' sizes.
    ///   - memoryBytes: what the backup keeps in memory; the rest goes to a file of at most `fileBytes`.
    init(lengths: [Int] = [1 << 20, 256 << 10], memoryBytes: Int = 64 << 20, fileBytes: Int = 1 << 30, patience: UInt64 = 60_000_000_000)
        throws
    {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-disks-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        self.lengths = lengths
        model = lengths.map { [UInt8](repeating: 0, count: $0) }
        let events = Events()
        self.events = events
        let folder = folder
        store = try DiskStore(
            images: lengths.enumerated().map { try RawImage(path: "\(folder)/disk\($0.offset)", byteCount: UInt64($0.element)) },
            memoryBytes: memoryBytes, fileBytes: fileBytes, folder: folder
        ) { event in
            switch event {
            case .staged(let identity, let entry, _): events.staged.withLock { $0[identity.epoch] = entry }
            case .failed(let reason): events.failures.withLock { $0.append(reason) }
            case .ended: break
            }
        }
        queue = try WriteQueue(byteCount: 64 << 20, patience: patience) { reason in events.failures.withLock { $0.append(reason) } }
        let (session, key) = (try CheckpointSessionID.random(), try CheckpointSessionKey.random())
        let store = store
        listener = try CheckpointListener(
            host: "127.0.0.1", port: 0,
            handlers: .init(key: { $0 == session ? key : nil }, accepted: { stream, _ in try! store.receive(stream, base: Self.identity) }))
        let stream = try SealedStream.connect(
            host: "127.0.0.1", port: listener.port, session: session, key: key, deadline: .now + .seconds(30))
        try stream.send(.hello(WireMessage.Hello(role: .primary, base: Self.identity)), deadline: .now + .seconds(30))
        sender = try WriteSender(queue: queue, stream: stream)
    }

    deinit {
        sender.stop()
        listener.stop()
        try? store.finish()
        try? FileManager.default.removeItem(atPath: folder)
    }

    var failures: [String] { events.failures.withLock { $0 } }

    /// One write of the guest, as the NBD server hands it over.
    func write(_ bytes: [UInt8], at offset: Int, disk: Int = 0) {
        guard let place = queue.reserve(bytes.count) else { return }
        bytes.withUnsafeBytes { place.bytes.copyMemory(from: $0) }
        queue.append(.data, disk: UInt16(disk), offset: UInt64(offset), length: UInt64(bytes.count), place: place.number)
        model[disk].replaceSubrange(offset..<offset + bytes.count, with: bytes)
    }

    func clear(_ kind: DiskMessage.Kind, at offset: Int, length: Int, disk: Int = 0) {
        queue.append(kind, disk: UInt16(disk), offset: UInt64(offset), length: UInt64(length), place: nil)
        model[disk].replaceSubrange(offset..<offset + length, with: repeatElement(0, count: length))
    }

    /// Random writes to all disks.
    func scribble(_ count: Int, largest: Int = 20_000, using generator: inout some RandomNumberGenerator) {
        for _ in 0..<count {
            let disk = Int.random(in: lengths.indices, using: &generator)
            let length = Int.random(in: 1...largest, using: &generator)
            let offset = Int.random(in: 0...lengths[disk] - length, using: &generator)
            switch Int.random(in: 0..<10, using: &generator) {
            case 0: clear(.zeroes, at: offset, length: length, disk: disk)
            case 1: clear(.discard, at: offset, length: length, disk: disk)
            case 2: write([UInt8](repeating: UInt8.random(in: 1...255, using: &generator), count: 4096), at: 8192, disk: disk)
            default: write((0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }, at: offset, disk: disk)
            }
        }
    }

    /// The guest stands still.
    func close() -> UInt64 { queue.close() }

    func mark(_ epoch: UInt64, through entry: UInt64) {
        queue.mark(EpochIdentity(generation: 1, sessionNonce: 2, epoch: epoch), through: entry)
    }

    /// Waits until all writes of an epoch are on the backup; its last entry.
    func staged(_ epoch: UInt64) throws -> UInt64 {
        try wait("epoch \(epoch)") { self.events.staged.withLock { $0[epoch] != nil } }
        return events.staged.withLock { $0[epoch]! }
    }

    func wait(_ what: String, until condition: () -> Bool) throws {
        let end = MonotonicClock.now + 60_000_000_000
        while !condition() {
            guard MonotonicClock.now < end else { throw HostDaemonError(.system, "waited in vain for \(what); \(failures)") }
            usleep(1000)
        }
    }

    func image(_ disk: Int) -> [UInt8] { Array(FileManager.default.contents(atPath: "\(folder)/disk\(disk)") ?? Data()) }

    /// Whether the images hold exactly this.
    func holds(_ contents: [[UInt8]]) -> Bool { lengths.indices.allSatisfy { image($0) == contents[$0] } }
}
