import Foundation
import Glibc
import Links
import Synchronization
import UnderstudyCore

@testable import HostDaemon

/// A backup's store of disks in a folder of its own, and a real sealed stream that leads there; what both ends said of themselves.
final class ReplicaBench {
    static func identity(_ epoch: UInt64) -> EpochIdentity { EpochIdentity(generation: 1, sessionNonce: 2, epoch: epoch) }

    let folder: String
    let store: DiskStore
    /// The primary's end, after the hellos.
    let stream: SealedStream
    private let words: Words
    private let listener: CheckpointListener
    private let ownsFolder: Bool

    private final class Words: Sendable {
        let staged = Mutex<[UInt64: UInt64]>([:])
        let failures = Mutex<[String]>([])
    }

    /// - Parameters:
    ///   - lengths: the disks' sizes.
    ///   - isShared: both hosts see the images.
    ///   - memoryBytes: what the backup keeps in memory; the rest goes to a file of at most `fileBytes`.
    ///   - existing: a folder that may have images already, and stays; nil for a new one.
    ///   - readRate: how fast they are read, bytes per second; 0 without a limit.
    init(
        lengths: [UInt64], memoryBytes: Int = 64 << 20, fileBytes: Int = 1 << 30, folder existing: String? = nil, readRate: UInt64 = 0,
        isShared: Bool = false
    ) throws {
        ownsFolder = existing == nil
        let folder = existing ?? FileManager.default.temporaryDirectory.appendingPathComponent("understudy-disks-\(UUID().uuidString)").path
        self.folder = folder
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let words = Words()
        self.words = words
        let images = try lengths.enumerated().map { try RawImage(path: Self.path($0.offset, in: folder), byteCount: $0.element) }
        let store = try DiskStore(
            images: isShared ? [] : images, sharedLengths: isShared ? lengths : [], memoryBytes: memoryBytes, fileBytes: fileBytes,
            folder: folder, readRate: readRate
        ) { event in
            switch event {
            case .staged(let identity, let entry, _): words.staged.withLock { $0[identity.epoch] = entry }
            case .failed(let reason): words.failures.withLock { $0.append(reason) }
            case .ended: break
            }
        }
        self.store = store
        let (session, key) = (try CheckpointSessionID.random(), try CheckpointSessionKey.random())
        listener = try CheckpointListener(
            host: "127.0.0.1", port: 0,
            handlers: .init(
                key: { $0 == session ? key : nil }, accepted: { stream, _ in try! store.receive(stream, base: Self.identity(0)) }))
        stream = try SealedStream.connect(
            host: "127.0.0.1", port: listener.port, session: session, key: key, deadline: .now + .seconds(30))
        try stream.send(.hello(WireMessage.Hello(role: .primary, base: Self.identity(0))), deadline: .now + .seconds(30))
    }

    /// The primary's end must have been stopped.
    deinit {
        stream.shutdown()
        listener.stop()
        try? store.finish()
        if ownsFolder { try? FileManager.default.removeItem(atPath: folder) }
    }

    /// Ends the backup's part and lets go of the images; nothing can be done here afterwards.
    func drop() throws {
        stream.shutdown()
        listener.stop()
        _ = try store.drop(within: .max / 2)
    }

    static func path(_ disk: Int, in folder: String) -> String { "\(folder)/disk\(disk)" }

    /// The bytes of a disk's image.
    func image(_ disk: Int) -> [UInt8] { Array(FileManager.default.contents(atPath: Self.path(disk, in: folder)) ?? Data()) }

    var failures: [String] { words.failures.withLock { $0 } }

    /// Takes a failure of the primary's end down.
    var failed: @Sendable (String) -> Void { { [words] reason in words.failures.withLock { $0.append(reason) } } }

    /// Waits until all writes of an epoch are on the backup; its last entry.
    func staged(_ epoch: UInt64) throws -> UInt64 {
        try wait("epoch \(epoch)") { words.staged.withLock { $0[epoch] != nil } }
        return words.staged.withLock { $0[epoch]! }
    }

    func wait(_ what: String, until condition: () throws -> Bool) throws {
        let end = MonotonicClock.now + 120_000_000_000
        while try !condition() {
            guard MonotonicClock.now < end else { throw HostDaemonError(.system, "waited in vain for \(what); \(failures)") }
            usleep(1000)
        }
    }
}
