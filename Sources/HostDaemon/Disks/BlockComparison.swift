internal import Links
internal import Synchronization
internal import UnderstudyCore

/// Keeps from the network what the backup's image of one disk holds already, while QEMU copies the disk.
///
/// Stands between the NBD server's thread and the queue until `finish`; afterwards a write passes it by at the cost of one comparison. Without
/// the backup's word about a block every write to it goes on.
final class BlockComparison: Sendable {
    let grid: BlockGrid
    private let disk: Int
    private let queue: WriteQueue
    private let isActive = Atomic<Bool>(true)
    private let state: Mutex<State>
    private let reported = Atomic<Int>(0)
    private let differing = Atomic<Int>(0)
    private let skipped = Atomic<UInt64>(0)

    private struct State {
        var table: BlockTable?
        var hasher: BlockHasher?
    }

    init(disk: Int, byteCount: UInt64, queue: WriteQueue) {
        self.disk = disk
        self.queue = queue
        grid = BlockGrid(byteCount: byteCount)
        state = Mutex(State(table: BlockTable(grid: grid), hasher: nil))
    }

    /// Bytes of the disk of which the backup has said what its image holds.
    var reportedBytes: UInt64 { bytes(reported.load(ordering: .relaxed)) }
    /// Bytes of the disk that the image did not hold, in whole blocks.
    var differingBytes: UInt64 { bytes(differing.load(ordering: .relaxed)) }
    /// Bytes that QEMU wrote here and that were not sent.
    var skippedBytes: UInt64 { skipped.load(ordering: .relaxed) }

    private func bytes(_ blocks: Int) -> UInt64 { min(grid.byteCount, UInt64(blocks) * grid.blockBytes) }

    /// The key of the digests that follow.
    func begin(_ hasher: BlockHasher) { state.withLock { $0.hasher = hasher } }

    /// The backup's word about blocks, all of which must be in the grid.
    func learn(_ digests: [BlockDigest], first: Int) {
        change { table, _ in for (index, digest) in digests.enumerated() { table.learn(digest, of: first + index) } }
    }

    func learnZeroes(in blocks: Range<Int>) { change { table, _ in table.learnZeroes(in: blocks) } }

    /// Takes a write whose data lies in the queue's memory; false when there is nothing to compare any more.
    func take(_ bytes: UnsafeRawBufferPointer, place: Int, at offset: UInt64) -> Bool {
        guard isActive.load(ordering: .acquiring) else { return false }
        return change { table, hasher in
            var isHandedOn = false
            table.write(bytes, at: offset, digest: { hasher?.digest(disk: disk, block: $0, of: $1) }) { change in
                guard case .data(let range) = change else { return append(change, .zeroes) }
                isHandedOn = range.count == bytes.count
                if isHandedOn {
                    queue.append(.data, disk: UInt16(disk), offset: offset, length: UInt64(bytes.count), place: place)
                } else {
                    append(UnsafeRawBufferPointer(rebasing: bytes[range]), at: offset + UInt64(range.lowerBound))
                }
            }
            if !isHandedOn { queue.abandon(place) }
        }
    }

    /// Takes a range that reads as zeroes from now on; false when there is nothing to compare any more.
    func take(_ kind: DiskMessage.Kind, at offset: UInt64, length: UInt64) -> Bool {
        guard isActive.load(ordering: .acquiring) else { return false }
        return change { table, _ in table.clear(offset..<offset + length) { append($0, kind) } }
    }

    /// The disk is copied: sends what still has to be cleared and lets every write pass from now on.
    func finish() {
        // In one step: what is cleared meanwhile is either still in the table, or passes.
        state.withLock { state in
            guard state.table != nil else { return }
            state.table!.finish { append($0, .zeroes) }
            report(state.table!)
            state = State()
        }
        isActive.store(false, ordering: .releasing)
    }

    /// Changes the table, if it is still there, and takes down its numbers.
    @discardableResult
    private func change(_ body: (inout BlockTable, BlockHasher?) -> Void) -> Bool {
        state.withLock { state in
            let hasher = state.hasher
            guard state.table != nil else { return false }
            body(&state.table!, hasher)
            report(state.table!)
            return true
        }
    }

    private func report(_ table: borrowing BlockTable) {
        reported.store(table.reportedBlocks, ordering: .relaxed)
        differing.store(table.differingBlocks, ordering: .relaxed)
        skipped.store(table.skippedBytes, ordering: .relaxed)
    }

    /// A part of a write gets room of its own, since the room of the whole is given back as one.
    private func append(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        guard let (number, room) = queue.reserve(bytes.count) else {
            return queue.fail("there is no room for a write of \(bytes.count) bytes")
        }
        room.copyMemory(from: bytes)
        queue.append(.data, disk: UInt16(disk), offset: offset, length: UInt64(bytes.count), place: number)
    }

    private func append(_ change: BlockTable.Change, _ kind: DiskMessage.Kind) {
        guard case .zeroes(let offset, let length) = change else { return }
        queue.append(kind, disk: UInt16(disk), offset: offset, length: length, place: nil)
    }
}
