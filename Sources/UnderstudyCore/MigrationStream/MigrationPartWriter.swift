/// Builds parts of the `ram` section without copying a page and without allocating.
///
/// Record headers go to an arena allocated once; `segments` alternates between runs of that arena and the caller's pages, ready for
/// writev(2). Use: `append` until it returns false or the pages are all in, `finish`, write `segments`, `reset`, go on. An epoch may
/// span several parts. Not thread safe: one thread owns a writer.
public final class MigrationPartWriter {
    /// Pages that one part can hold.
    public let capacity: Int
    /// Pages in the part so far.
    public private(set) var pageCount = 0
    /// Bytes of the part so far.
    public private(set) var byteCount = 0

    private struct Block {
        var name: [UInt8]
        var length: UInt64
    }

    private let blocks: [Block]
    private let arena: UnsafeMutableRawBufferPointer
    private let list: UnsafeMutableBufferPointer<StreamSegment>
    private var arenaUsed = 0
    private var segmentCount = 0
    /// Whether the last segment is a run of the arena, which the next header may lengthen.
    private var endsInArena = false
    private var currentBlock = -1

    /// - Parameters:
    ///   - blocks: the RAM blocks in the order of the opening; `append` names them by index.
    ///   - capacity: pages per part, at least 1.
    public init(blocks: [RAMBlock], capacity: Int = 4096) throws(MigrationStreamError) {
        precondition(capacity > 0, "a part holds at least one page")
        try MigrationStream.check(blocks)
        self.capacity = capacity
        self.blocks = blocks.map { Block(name: Array($0.name.utf8), length: $0.usedLength) }
        let longestName = blocks.reduce(0) { max($0, $1.name.utf8.count) }
        // Section header, per page an address, a name with its length and what announces its content, then the section's end.
        let bytes = 5 + capacity * (8 + 1 + longestName + 3) + MigrationStream.sectionEnd.count
        // SAFETY: both are released in deinit and nowhere else; every write below stays within the bound just computed.
        arena = .allocate(byteCount: bytes, alignment: 16)
        list = .allocate(capacity: 2 * capacity + 2)
    }

    deinit {
        arena.deallocate()
        list.deallocate()
    }

    /// Adds one page. False when the part is full: finish, write, reset, and append the page again.
    ///
    /// - Parameters:
    ///   - block: index of the RAM block.
    ///   - offset: bytes from the block's start, a multiple of the page size.
    ///   - page: the page's 4096 bytes, which must stay unchanged until the part is written; nil for a page of zeros.
    public func append(block: Int, offset: UInt64, page: UnsafeRawPointer?) throws(MigrationStreamError) -> Bool {
        try append(block: block, offset: offset, content: page.map { .whole($0) } ?? .zero)
    }

    /// Adds what an epoch says of a page; as the other `append`. QEMU applies a delta to the page that it has.
    public func append(block: Int, offset: UInt64, content: StagedPage.Content) throws(MigrationStreamError) -> Bool {
        guard blocks.indices.contains(block) else {
            throw MigrationStreamError(.badPage, "there is no RAM block number \(block), only \(blocks.count) blocks")
        }
        let pageSize = UInt64(MigrationStream.pageSize)
        // A block has at least one page, so the subtraction cannot wrap.
        guard offset % pageSize == 0, offset <= blocks[block].length - pageSize else {
            throw badPage(block: block, offset: offset)
        }
        guard pageCount < capacity else { return false }
        if pageCount == 0 { put(MigrationStream.SectionType.part.rawValue, MigrationStream.ramSection) }
        let same = block == currentBlock
        put(offset | Self.flag(of: content) | (same ? MigrationStream.RecordFlag.sameBlock : 0))
        if !same { putName(of: block) }
        switch content {
        case .zero: put(UInt8(0))
        case .whole(let page): putContent(UnsafeRawBufferPointer(start: page, count: MigrationStream.pageSize))
        case .delta(let delta):
            put(Self.deltaEncoding, UInt16(delta.count))
            putContent(delta)
        }
        pageCount += 1
        return true
    }

    /// The only encoding of deltas that QEMU knows (`ENCODING_FLAG_XBZRLE`).
    private static let deltaEncoding: UInt8 = 1

    private static func flag(of content: StagedPage.Content) -> UInt64 {
        switch content {
        case .zero: MigrationStream.RecordFlag.zero
        case .whole: MigrationStream.RecordFlag.page
        case .delta: MigrationStream.RecordFlag.delta
        }
    }

    /// Closes the part. Afterwards `segments` is complete.
    public func finish() {
        guard pageCount > 0 else { return }
        put(MigrationStream.RecordFlag.endOfSection)
        put(SectionBoundary.footerMark, MigrationStream.ramSection)
    }

    /// Forgets everything, for the next part.
    public func reset() {
        (pageCount, byteCount, arenaUsed, segmentCount) = (0, 0, 0, 0)
        endsInArena = false
        currentBlock = -1
    }

    /// What to write, in order; empty when no page was added. Valid until `reset`.
    public var segments: UnsafeBufferPointer<StreamSegment> {
        UnsafeBufferPointer(rebasing: list[..<segmentCount])
    }

    private func badPage(block: Int, offset: UInt64) -> MigrationStreamError {
        let name = String(decoding: blocks[block].name, as: UTF8.self)
        return MigrationStreamError(
            .badPage, "offset \(offset) is no page of RAM block \(name), which has \(blocks[block].length) bytes")
    }

    private func put(_ mark: UInt8, _ number: some FixedWidthInteger & BitwiseCopyable) {
        put(mark)
        put(number)
    }

    private func put(_ value: some FixedWidthInteger & BitwiseCopyable) {
        let size = value.bitWidth / 8
        // SAFETY: `storeBytes` checks the range against the arena's bounds.
        arena.storeBytes(of: value.bigEndian, toByteOffset: arenaUsed, as: type(of: value))
        lengthen(by: size)
    }

    private func putName(of block: Int) {
        let name = blocks[block].name
        put(UInt8(truncatingIfNeeded: name.count))
        for (index, byte) in name.enumerated() { arena[arenaUsed + index] = byte }
        lengthen(by: name.count)
        currentBlock = block
    }

    /// Counts `size` bytes just stored at the arena's end to the last segment.
    private func lengthen(by size: Int) {
        if endsInArena {
            list[segmentCount - 1].count += size
        } else {
            // SAFETY: the arena is allocated, never empty, and `arenaUsed` lies within it.
            list[segmentCount] = StreamSegment(base: UnsafeRawPointer(arena.baseAddress!) + arenaUsed, count: size)
            segmentCount += 1
            endsInArena = true
        }
        arenaUsed += size
        byteCount += size
    }

    private func putContent(_ bytes: UnsafeRawBufferPointer) {
        // SAFETY: neither a page nor a valid delta is empty.
        list[segmentCount] = StreamSegment(base: bytes.baseAddress!, count: bytes.count)
        segmentCount += 1
        endsInArena = false
        byteCount += bytes.count
    }
}
