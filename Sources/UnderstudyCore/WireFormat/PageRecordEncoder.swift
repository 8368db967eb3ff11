// SPDX-License-Identifier: Apache-2.0

/// Makes `pages` messages out of pages that lie in a staging arena, without copying those that go whole.
///
/// The encoder owns the header with its entry table, room for deltas and a scatter list; whole pages are emitted as pointers into
/// the arena, adjacent ones as one piece, so that the only copy of a page is its encryption. It allocates when it is made and never
/// afterwards. Messages are packed: a run of pages may be split and runs of the same block are put together.
public struct PageRecordEncoder: ~Copyable {
    /// What became of the pages since `reset()`.
    public private(set) var counts = PageCounts()
    /// Entries since `reset()`, zero pages included.
    public var pageCount: UInt64 { counts.zero + counts.delta + counts.whole }
    /// Messages emitted since `reset()`.
    public private(set) var recordCount: UInt64 = 0

    /// Header and entry table of the message being filled.
    private let table: UnsafeMutableRawBufferPointer
    /// The deltas of the message being filled.
    private let deltas: UnsafeMutableRawBufferPointer
    private let zeroPage: UnsafeMutableRawBufferPointer
    /// Piece 0 is header and table, the others are contents.
    private let pieces: UnsafeMutableBufferPointer<UnsafeRawBufferPointer>
    private var pieceCount = 1
    private var entryCount = 0
    private var contentLength = 0
    private var deltaLength = 0
    private var block: UInt16 = 0

    public init() {
        table = .allocate(byteCount: WireFormat.maximumRecordLength, alignment: 16)
        deltas = .allocate(byteCount: WireFormat.maximumRecordLength + PageDelta.maximumLength, alignment: 16)
        zeroPage = .allocate(byteCount: WireFormat.pageSize, alignment: 64)
        zeroPage.initializeMemory(as: UInt8.self, repeating: 0)
        // Deltas between two whole pages are one piece.
        pieces = .allocate(capacity: 2 + 2 * WireFormat.maximumWholePagesPerRecord)
        pieces.initialize(repeating: UnsafeRawBufferPointer(start: nil, count: 0))
    }

    deinit {
        table.deallocate()
        deltas.deallocate()
        zeroPage.deallocate()
        pieces.deallocate()
    }

    /// Forgets a message that was begun and sets the counters to zero.
    public mutating func reset() {
        counts = PageCounts()
        recordCount = 0
        startMessage(block: 0)
    }

    /// Adds a run of adjacent pages of one RAM block; emits messages as they become full.
    ///
    /// - Parameters:
    ///   - block: index of the RAM block in the list that both sides agreed on.
    ///   - offset: byte offset of the first page in the block, a multiple of 4,096.
    ///   - pages: the content, a multiple of 4,096 bytes; must stay unchanged until the next `flush` has returned.
    ///   - references: the pages as they were sent before, brought up to these; nil: no deltas.
    ///   - emit: takes one message as scattered pieces; they are valid during the call only.
    /// - Throws: what `emit` throws; the epoch is then incomplete, and `references` are of no use any more.
    public mutating func append<Failure: Error>(
        block: UInt16, offset: UInt64, pages: UnsafeRawBufferPointer, references: ReferencePages?,
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
            let place = offset + UInt64(position)
            // A message always has room for one delta more, which is moved to the next message if it then turns out to be too long for this one.
            let content = examine(page, at: place, references)
            if case .nothing = content { continue }
            if !hasRoom(for: content.length) {
                try flush(emit: emit)
                moveDelta(content)
            }
            add(content, at: place)
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
            kind: .pages, block: block, length: tableLength + contentLength, first: UInt32(entryCount), second: UInt32(contentLength)
        ).write(to: table)
        pieces[0] = UnsafeRawBufferPointer(rebasing: table[..<tableLength])
        let message = UnsafeBufferPointer(rebasing: pieces[..<pieceCount])
        recordCount += 1
        let length = deltaLength
        startMessage(block: block)
        lastDelta = length
        try emit(message)
    }

    /// Where the delta stands that was made last, when its message went without it.
    private var lastDelta = 0

    private enum Content {
        case nothing
        case zero
        case delta(Int)
        case whole(UnsafeRawPointer)

        var length: Int {
            switch self {
            case .nothing, .zero: 0
            case .delta(let length): length
            case .whole: WireFormat.pageSize
            }
        }
    }

    /// Decides what is sent of a page, and remembers it as sent.
    private mutating func examine(_ page: UnsafeRawPointer, at offset: UInt64, _ references: ReferencePages?) -> Content {
        if isZeroPage(page) { return zero(at: offset, references) }
        guard let references else {
            counts.whole += 1
            return .whole(page)
        }
        let reference: UnsafeRawPointer? =
            switch references.known(block: block, offset: offset) {
            case .nothing: nil
            case .zero: UnsafeRawPointer(zeroPage.baseAddress!)
            case .copy(let copy): UnsafeRawPointer(copy)
            }
        var content = Content.whole(page)
        if let reference {
            let room = UnsafeMutableRawBufferPointer(rebasing: deltas[deltaLength...])
            switch PageDelta.encode(page, against: reference, into: room) {
            case .unchanged:
                counts.unchanged += 1
                return .nothing
            case .delta(let length): content = .delta(length)
            case .tooLong: break
            }
        }
        references.keep(page, block: block, offset: offset)
        if case .delta(let length) = content {
            counts.delta += 1
            counts.deltaBytes += UInt64(length)
        } else {
            counts.whole += 1
        }
        return content
    }

    private mutating func zero(at offset: UInt64, _ references: ReferencePages?) -> Content {
        if let references {
            if case .zero = references.known(block: block, offset: offset) {
                counts.unchanged += 1
                return .nothing
            }
            references.keepZero(block: block, offset: offset)
        }
        counts.zero += 1
        return .zero
    }

    private mutating func startMessage(block: UInt16) {
        self.block = block
        pieceCount = 1
        entryCount = 0
        contentLength = 0
        deltaLength = 0
    }

    private func hasRoom(for length: Int) -> Bool {
        Self.tableLength(entries: entryCount + 1) + contentLength + length <= WireFormat.maximumRecordLength
    }

    /// Brings the delta that did not fit the message before to the beginning of this one.
    private func moveDelta(_ content: Content) {
        guard case .delta(let length) = content else { return }
        // SAFETY: the delta lies there, behind those of the message before, which is out; the ranges may overlap.
        deltas.baseAddress!.copyMemory(from: deltas.baseAddress! + lastDelta, byteCount: length)
    }

    private mutating func add(_ content: Content, at offset: UInt64) {
        let number: UInt64
        switch content {
        case .nothing: return
        case .zero: number = WireFormat.zeroPage
        case .whole(let page):
            number = 0
            addPiece(page, WireFormat.pageSize)
        case .delta(let length):
            number = UInt64(length)
            // SAFETY: `examine` or `moveDelta` has put the delta there.
            addPiece(UnsafeRawPointer(deltas.baseAddress! + deltaLength), length)
            deltaLength += length
        }
        // SAFETY: hasRoom was asked for this entry, so its 8 bytes lie within the table.
        table.storeBytes(
            of: (offset | number).littleEndian, toByteOffset: WireFormat.headerLength + entryCount * 8, as: UInt64.self)
        entryCount += 1
    }

    private mutating func addPiece(_ start: UnsafeRawPointer, _ length: Int) {
        contentLength += length
        let last = pieces[pieceCount - 1]
        if pieceCount > 1, let lastStart = last.baseAddress, lastStart + last.count == start {
            // SAFETY: the two are adjacent in memory that is kept until the message is out, hence one buffer.
            pieces[pieceCount - 1] = UnsafeRawBufferPointer(start: lastStart, count: last.count + length)
        } else {
            pieces[pieceCount] = UnsafeRawBufferPointer(start: start, count: length)
            pieceCount += 1
        }
    }

    /// Bytes of header and entry table, padded so that what follows starts at a multiple of 16 (the cipher's block size).
    static func tableLength(entries: Int) -> Int {
        (WireFormat.headerLength + entries * 8 + 15) & ~15
    }
}
