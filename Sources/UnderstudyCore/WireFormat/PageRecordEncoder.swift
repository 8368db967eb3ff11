// SPDX-License-Identifier: Apache-2.0

/// Makes `pages` messages out of pages that lie in a staging arena, without copying them.
///
/// The encoder owns the header with its entry table and a scatter list; the raw pages are emitted as pointers into the arena,
/// adjacent pages as one piece, so that the only copy of a page is its encryption. It allocates when it is made and never
/// afterwards. Messages are packed: a run of pages may be split and runs of the same block are put together.
public struct PageRecordEncoder: ~Copyable {
    /// Entries since `reset()`, zero pages included.
    public private(set) var pageCount: UInt64 = 0
    /// Zero pages since `reset()`.
    public private(set) var zeroCount: UInt64 = 0
    /// Messages emitted since `reset()`.
    public private(set) var recordCount: UInt64 = 0

    /// Header and entry table of the message being filled.
    private let table: UnsafeMutableRawBufferPointer
    /// Piece 0 is header and table, the others are raw pages.
    private let pieces: UnsafeMutableBufferPointer<UnsafeRawBufferPointer>
    private var pieceCount = 1
    private var entryCount = 0
    private var rawCount = 0
    private var block: UInt16 = 0

    public init() {
        table = .allocate(byteCount: WireFormat.maximumRecordLength, alignment: 16)
        pieces = .allocate(capacity: 1 + WireFormat.maximumRawPagesPerRecord)
        pieces.initialize(repeating: UnsafeRawBufferPointer(start: nil, count: 0))
    }

    deinit {
        table.deallocate()
        pieces.deallocate()
    }

    /// Forgets a message that was begun and sets the counters to zero.
    public mutating func reset() {
        pageCount = 0
        zeroCount = 0
        recordCount = 0
        startMessage(block: 0)
    }

    /// Adds a run of adjacent pages of one RAM block; emits messages as they become full.
    ///
    /// - Parameters:
    ///   - block: index of the RAM block in the list that both sides agreed on.
    ///   - offset: byte offset of the first page in the block, a multiple of 4,096.
    ///   - pages: the content, a multiple of 4,096 bytes; must stay unchanged until the next `flush` has returned.
    ///   - isZero: says whether the 4,096 bytes at an address are all zero, such as `PageContent.isZero`.
    ///   - emit: takes one message as scattered pieces; they are valid during the call only.
    /// - Throws: what `emit` throws; the epoch is then incomplete and must be begun anew after `reset()`.
    public mutating func append<Failure: Error>(
        block: UInt16, offset: UInt64, pages: UnsafeRawBufferPointer, isZero: (UnsafeRawPointer) -> Bool,
        emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) {
        precondition(pages.count % WireFormat.pageSize == 0 && offset % UInt64(WireFormat.pageSize) == 0, "a run consists of whole pages")
        guard let base = pages.baseAddress else { return }
        if block != self.block {
            try flush(emit: emit)
            startMessage(block: block)
        }
        for position in stride(from: 0, to: pages.count, by: WireFormat.pageSize) {
            // SAFETY: position + pageSize <= pages.count, so the page lies inside the caller's buffer.
            let page = base + position
            let zero = isZero(page)
            if !hasRoom(forRawPage: !zero) { try flush(emit: emit) }
            add(offset: offset + UInt64(position), page: zero ? nil : page)
        }
    }

    /// Emits the message that is not full yet, if there is one.
    public mutating func flush<Failure: Error>(
        emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) {
        guard entryCount > 0 else { return }
        let tableLength = Self.tableLength(entries: entryCount)
        let used = WireFormat.headerLength + entryCount * 8
        // SAFETY: hasRoom kept tableLength within the allocation.
        (table.baseAddress! + used).initializeMemory(as: UInt8.self, repeating: 0, count: tableLength - used)
        WireHeader(
            kind: .pages, block: block, length: tableLength + rawCount * WireFormat.pageSize, first: UInt32(entryCount),
            second: UInt32(rawCount)
        ).write(to: table)
        pieces[0] = UnsafeRawBufferPointer(rebasing: table[..<tableLength])
        let message = UnsafeBufferPointer(rebasing: pieces[..<pieceCount])
        recordCount += 1
        startMessage(block: block)
        try emit(message)
    }

    private mutating func startMessage(block: UInt16) {
        self.block = block
        pieceCount = 1
        entryCount = 0
        rawCount = 0
    }

    private func hasRoom(forRawPage raw: Bool) -> Bool {
        let rawPages = rawCount + (raw ? 1 : 0)
        return Self.tableLength(entries: entryCount + 1) + rawPages * WireFormat.pageSize <= WireFormat.maximumRecordLength
    }

    private mutating func add(offset: UInt64, page: UnsafeRawPointer?) {
        let entry = page == nil ? offset | WireFormat.zeroPageFlag : offset
        // SAFETY: hasRoom was asked for this entry, so its 8 bytes lie within the table.
        table.storeBytes(of: entry.littleEndian, toByteOffset: WireFormat.headerLength + entryCount * 8, as: UInt64.self)
        entryCount += 1
        pageCount += 1
        guard let page else {
            zeroCount += 1
            return
        }
        rawCount += 1
        let last = pieces[pieceCount - 1]
        if pieceCount > 1, let start = last.baseAddress, start + last.count == page {
            // SAFETY: the two pages are adjacent in memory that the caller keeps, hence one buffer.
            pieces[pieceCount - 1] = UnsafeRawBufferPointer(start: start, count: last.count + WireFormat.pageSize)
        } else {
            pieces[pieceCount] = UnsafeRawBufferPointer(start: page, count: WireFormat.pageSize)
            pieceCount += 1
        }
    }

    /// Bytes of header and entry table, padded so that the raw pages start at a multiple of 16 (the cipher's block size).
    static func tableLength(entries: Int) -> Int {
        (WireFormat.headerLength + entries * 8 + 15) & ~15
    }
}
