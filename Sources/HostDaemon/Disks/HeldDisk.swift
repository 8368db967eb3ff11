internal import NBD
internal import UnderstudyCore

/// A disk of a protected guest whose image both hosts see, as QEMU's mirror sees it: every write goes to the backup with its epoch, and is held
/// back from the image until the epoch is committed.
final class HeldDisk: WrittenDisk {
    let name: String
    let byteCount: UInt64
    private let index: Int
    private let queue: WriteQueue
    private let held: HeldWrites

    init(name: String, index: Int, byteCount: UInt64, queue: WriteQueue, held: HeldWrites) {
        self.name = name
        self.index = index
        self.byteCount = byteCount
        self.queue = queue
        self.held = held
    }

    func reserve(length: Int) -> NBDBuffer? {
        let begun = MonotonicClock.now
        held.awaitRoom()
        return NBDBuffer(bytes: .allocate(byteCount: length, alignment: 4096), tag: begun)
    }

    func abandon(_ buffer: NBDBuffer) { buffer.bytes.deallocate() }

    func write(_ buffer: NBDBuffer, at offset: UInt64, forceUnitAccess: Bool) -> NBDErrorCode? {
        // A queue that is broken forgets the copy; the write itself is held all the same.
        if let place = queue.reserve(buffer.bytes.count, since: buffer.tag) {
            place.bytes.copyMemory(from: UnsafeRawBufferPointer(buffer.bytes))
            queue.append(.data, disk: UInt16(index), offset: offset, length: UInt64(buffer.bytes.count), place: place.number)
        }
        return hold(.data, at: offset, length: UInt64(buffer.bytes.count), buffer.bytes)
    }

    func writeZeroes(at offset: UInt64, length: UInt64, mayTrim: Bool, forceUnitAccess: Bool) -> NBDErrorCode? {
        queue.append(.zeroes, disk: UInt16(index), offset: offset, length: length, place: nil)
        return hold(.zeroes, at: offset, length: length, nil)
    }

    /// What the guest discards keeps its bytes: QEMU's node passes no discards on.
    func trim(at offset: UInt64, length: UInt64) -> NBDErrorCode? { nil }

    private func hold(
        _ kind: DiskMessage.Kind, at offset: UInt64, length: UInt64, _ data: UnsafeMutableRawBufferPointer?
    ) -> NBDErrorCode? {
        held.append(kind, disk: index, offset: offset, length: length, data: data) ? nil : .inputOutput
    }
}
