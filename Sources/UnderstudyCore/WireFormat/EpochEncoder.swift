// SPDX-License-Identifier: Apache-2.0

/// Writes one whole epoch as messages: begin, pages, device state, end with the counts.
///
/// Owned by one thread. Every method hands finished messages to `emit`, which seals them (`SealedWriter.write`). The
/// pieces are valid during that call only. Allocates when it is made, never afterwards.
public struct EpochEncoder: ~Copyable {
    /// Entries of the epoch so far, zero pages included.
    public var pageCount: UInt64 { pages.pageCount }
    /// Zero pages of the epoch so far.
    public var zeroCount: UInt64 { pages.counts.zero }
    /// What became of the pages of the epoch so far.
    public var counts: PageCounts { pages.counts }

    private var pages = PageRecordEncoder()
    private var devices = DeviceStateEncoder()
    /// Pieces of the device state on their way.
    private let deviceBuffer: UnsafeMutableRawBufferPointer
    private let header: UnsafeMutableRawBufferPointer
    private let pieces: UnsafeMutableBufferPointer<UnsafeRawBufferPointer>
    private var identity: EpochIdentity?
    private var deviceStateLength: UInt64 = 0
    private var otherRecords: UInt64 = 0

    public init() {
        header = .allocate(byteCount: WireFormat.epochEndLength, alignment: 16)
        deviceBuffer = .allocate(byteCount: WireFormat.maximumRecordLength, alignment: 16)
        pieces = .allocate(capacity: 2)
        pieces.initialize(repeating: UnsafeRawBufferPointer(start: nil, count: 0))
    }

    deinit {
        header.deallocate()
        pieces.deallocate()
        deviceBuffer.deallocate()
    }

    /// Begins an epoch; one that was begun before is forgotten.
    public mutating func begin<Failure: Error>(
        _ begin: WireMessage.EpochBegin, emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) {
        pages.reset()
        identity = begin.identity
        deviceStateLength = 0
        otherRecords = 0
        try emitControl(.epochBegin(begin), emit: emit)
    }

    /// Adds a run of adjacent pages of one RAM block; see `PageRecordEncoder.append`.
    public mutating func append<Failure: Error>(
        block: UInt16, offset: UInt64, pages run: UnsafeRawBufferPointer, references: ReferencePages? = nil,
        emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) {
        try pages.append(block: block, offset: offset, pages: run, references: references, emit: emit)
    }

    /// Writes the device state, at most once per epoch and at most 1 GiB.
    ///
    /// - Parameter asDelta: sends what changed against the state that was written before, of which the receiver must be certain to have it.
    public mutating func deviceState<Failure: Error>(
        _ state: UnsafeRawBufferPointer, asDelta: Bool = false, emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) {
        precondition(deviceStateLength == 0, "the device state is written once per epoch")
        precondition(state.count <= WireFormat.maximumDeviceStateLength, "the device state is larger than the format allows")
        deviceStateLength = UInt64(state.count)
        if asDelta { return try deviceDelta(state, emit: emit) }
        devices.keep(state)
        let step = WireFormat.maximumRecordLength - WireFormat.headerLength
        for offset in stride(from: 0, to: state.count, by: step) {
            let chunk = UnsafeRawBufferPointer(rebasing: state[offset..<min(offset + step, state.count)])
            WireHeader(
                kind: .deviceState, block: 0, length: WireFormat.headerLength + chunk.count, first: UInt32(offset),
                second: UInt32(state.count)
            ).write(to: header)
            pieces[0] = UnsafeRawBufferPointer(rebasing: header[..<WireFormat.headerLength])
            pieces[1] = chunk
            otherRecords += 1
            try emit(UnsafeBufferPointer(pieces))
        }
    }

    private mutating func deviceDelta<Failure: Error>(
        _ state: UnsafeRawBufferPointer, emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) {
        devices.begin(length: state.count)
        var (offset, first, used) = (0, 0, WireFormat.headerLength)
        while offset < state.count {
            let room = UnsafeMutableRawBufferPointer(rebasing: deviceBuffer[used...])
            if let length = devices.encode(state, at: offset, into: room) {
                offset += WireFormat.pageSize
                used += length
                if offset < state.count { continue }
            }
            WireHeader(kind: .deviceDelta, block: 0, length: used, first: UInt32(first), second: UInt32(state.count))
                .write(to: deviceBuffer)
            pieces[0] = UnsafeRawBufferPointer(rebasing: deviceBuffer[..<used])
            otherRecords += 1
            (first, used) = (offset, WireFormat.headerLength)
            try emit(UnsafeBufferPointer(rebasing: pieces[..<1]))
        }
    }

    /// Emits what is left of the pages and the end with its counts.
    ///
    /// - Returns: the message that was sent.
    @discardableResult
    public mutating func end<Failure: Error>(
        emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) -> WireMessage.EpochEnd {
        guard let identity else { preconditionFailure("end of an epoch that was not begun") }
        try pages.flush(emit: emit)
        let end = WireMessage.EpochEnd(
            identity: identity, pageCount: pages.pageCount, zeroCount: pages.counts.zero, deviceStateLength: deviceStateLength,
            recordCount: pages.recordCount + otherRecords + 1)
        self.identity = nil
        try emitControl(.epochEnd(end), emit: emit)
        return end
    }

    private mutating func emitControl<Failure: Error>(
        _ message: WireMessage, emit: (UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(Failure) -> Void
    ) throws(Failure) {
        let length = message.encode(into: header)
        pieces[0] = UnsafeRawBufferPointer(rebasing: header[..<length])
        otherRecords += 1
        try emit(UnsafeBufferPointer(rebasing: pieces[..<1]))
    }
}
