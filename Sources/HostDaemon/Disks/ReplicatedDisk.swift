internal import NBD
internal import UnderstudyCore

/// One disk of a protected guest, as QEMU's mirror sees it: a target that takes every change and is never read.
final class ReplicatedDisk: WrittenDisk {
    let name: String
    let byteCount: UInt64
    private let index: UInt16
    private let queue: WriteQueue
    private let comparison: BlockComparison

    init(name: String, index: Int, byteCount: UInt64, queue: WriteQueue, comparison: BlockComparison) {
        self.name = name
        self.index = UInt16(index)
        self.byteCount = byteCount
        self.queue = queue
        self.comparison = comparison
    }

    func reserve(length: Int) -> NBDBuffer? {
        queue.reserve(length).map { NBDBuffer(bytes: $0.bytes, tag: UInt64(bitPattern: Int64($0.number))) }
    }

    func abandon(_ buffer: NBDBuffer) { queue.abandon(Self.place(buffer)) }

    func write(_ buffer: NBDBuffer, at offset: UInt64, forceUnitAccess: Bool) -> NBDErrorCode? {
        if comparison.take(UnsafeRawBufferPointer(buffer.bytes), place: Self.place(buffer), at: offset) { return nil }
        queue.append(.data, disk: index, offset: offset, length: UInt64(buffer.bytes.count), place: Self.place(buffer))
        return nil
    }

    func writeZeroes(at offset: UInt64, length: UInt64, mayTrim: Bool, forceUnitAccess: Bool) -> NBDErrorCode? {
        if comparison.take(.zeroes, at: offset, length: length) { return nil }
        queue.append(.zeroes, disk: index, offset: offset, length: length, place: nil)
        return nil
    }

    func trim(at offset: UInt64, length: UInt64) -> NBDErrorCode? {
        if comparison.take(.discard, at: offset, length: length) { return nil }
        queue.append(.discard, disk: index, offset: offset, length: length, place: nil)
        return nil
    }

    private static func place(_ buffer: NBDBuffer) -> Int { Int(Int64(bitPattern: buffer.tag)) }
}
