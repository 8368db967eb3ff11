import UnderstudyCore

@testable import HostDaemon

/// A primary's write queue and a backup's store with a real sealed stream between them, and a model of what the disks must hold.
final class DiskBench {
    let queue: WriteQueue
    let lengths: [Int]
    /// What the guest has written to each disk.
    private(set) var model: [[UInt8]]
    private let replica: ReplicaBench
    private let sender: WriteSender

    /// - Parameters:
    ///   - lengths: the disks' sizes.
    ///   - isShared: both hosts see the images.
    ///   - memoryBytes: what the backup keeps in memory; the rest goes to a file of at most `fileBytes`.
    init(
        lengths: [Int] = [1 << 20, 256 << 10], memoryBytes: Int = 64 << 20, fileBytes: Int = 1 << 30, patience: UInt64 = 60_000_000_000,
        isShared: Bool = false
    )
        throws
    {
        self.lengths = lengths
        model = lengths.map { [UInt8](repeating: 0, count: $0) }
        replica = try ReplicaBench(lengths: lengths.map(UInt64.init), memoryBytes: memoryBytes, fileBytes: fileBytes, isShared: isShared)
        queue = try WriteQueue(byteCount: 64 << 20, patience: patience, broken: replica.failed)
        sender = try WriteSender(queue: queue, stream: replica.stream)
    }

    deinit { sender.stop() }

    var folder: String { replica.folder }
    var store: DiskStore { replica.store }
    var failures: [String] { replica.failures }

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

    func mark(_ epoch: UInt64, through entry: UInt64) { queue.mark(ReplicaBench.identity(epoch), through: entry) }

    /// Waits until all writes of an epoch are on the backup; its last entry.
    func staged(_ epoch: UInt64) throws -> UInt64 { try replica.staged(epoch) }

    func wait(_ what: String, until condition: () throws -> Bool) throws { try replica.wait(what, until: condition) }

    /// The takeover of images that both hosts see.
    func finishShared() throws {
        try store.finish(
            into: lengths.enumerated().map { try RawImage(shared: "\(folder)/disk\($0.offset)", byteCount: UInt64($0.element)) })
    }

    func content(_ first: Int, _ count: Int) throws -> [UInt8] { Array(replica.image(0)[first..<first + count]) }

    /// Whether the images hold exactly this.
    func holds(_ contents: [[UInt8]]) -> Bool { lengths.indices.allSatisfy { replica.image($0) == contents[$0] } }
}
