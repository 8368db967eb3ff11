internal import GuestMemory
internal import HostAPI
internal import Links
internal import Synchronization
internal import UnderstudyCore

/// Encodes, packs, seals and sends one epoch after the other, straight from the staging arena.
///
/// One for the whole of a stream, since deltas are against what was sent before on it: the backup applies every epoch that it has taken, in
/// order, before it takes the next, and whatever else happens to an epoch ends the stream. Owned by one thread at a time: the session's while
/// it synchronises, then the sender's. Allocates when it is made, never per page.
final class EpochTransmission: @unchecked Sendable {
    // SAFETY: one owner at a time, as said above; `mode` and `statistics` may be used by any thread.

    /// How epochs are compressed from the next one on.
    let mode: Mutex<CompressionMode>
    /// What has come of it.
    let statistics = Mutex(CompressionStatus(mode: .auto))
    let references: ReferenceCache
    private let records: RecordSender
    private var encoder = EpochEncoder()
    private var lastMode = CompressionMode.off
    private var failure: LinkError?

    /// - Parameters:
    ///   - blockLengths: bytes of each RAM block, by index.
    ///   - referenceMebibytes: room for pages as they were sent last; nil: as much as the guest has.
    init(
        stream: SealedStream, blockLengths: [UInt64], mode: CompressionMode, referenceMebibytes: Int?
    ) throws(HostDaemonError) {
        records = try RecordSender(stream: stream)
        references = try ReferenceCache(blockLengths: blockLengths, mebibytes: referenceMebibytes)
        self.mode = Mutex(mode)
    }

    /// Sends one epoch whole and hands it to the kernel.
    ///
    /// - Parameters:
    ///   - runs: the pages' places, each page at most once; their contents lie in `pages` in the same order without gaps.
    ///   - deviceState: empty for a round of the synchronisation.
    ///   - patience: how long the link may take for the whole epoch.
    /// - Throws: what broke the stream; every later epoch throws it again, since nobody knows what the backup has.
    func send(
        _ begin: WireMessage.EpochBegin, runs: UnsafeBufferPointer<PageRun>, pages: UnsafeRawBufferPointer,
        deviceState: UnsafeRawBufferPointer, patience: Duration
    ) throws(LinkError) {
        if let failure { throw failure }
        let sentBefore = records.stream.writer.bytesSent
        let mode = enterMode()
        do throws(LinkError) {
            try encode(begin, runs, pages, deviceState, mode, deadline: .now + patience)
        } catch {
            failure = error
            references.clear()
            throw error
        }
        let wire = records.stream.writer.bytesSent - sentBefore
        record(dirty: UInt64(encoder.counts.pages) * UInt64(GuestPage.size) + UInt64(deviceState.count), wire: wire)
    }

    /// What compression does, with the mode that is in force from the next epoch on.
    var status: CompressionStatus {
        var status = statistics.withLock { $0 }
        status.mode = mode.withLock { $0 }
        return status
    }

    private func enterMode() -> CompressionMode {
        let mode = mode.withLock { $0 }
        // Pages that are sent meanwhile are not noted.
        if mode == .off, lastMode != .off { references.clear() }
        lastMode = mode
        records.begin(mode)
        return mode
    }

    private func encode(
        _ begin: WireMessage.EpochBegin, _ runs: UnsafeBufferPointer<PageRun>, _ pages: UnsafeRawBufferPointer,
        _ deviceState: UnsafeRawBufferPointer, _ mode: CompressionMode, deadline: ContinuousClock.Instant
    ) throws(LinkError) {
        let records = records
        let emit = { (pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(LinkError) in
            try records.write(pieces, deadline: deadline)
        }
        try encoder.begin(begin, emit: emit)
        var position = 0
        for run in runs {
            let length = Int(run.count) * GuestPage.size
            let content = UnsafeRawBufferPointer(rebasing: pages[position..<position + length])
            try encoder.append(
                block: run.block, offset: UInt64(run.firstPage) * UInt64(GuestPage.size), pages: content,
                references: mode == .off ? nil : references.pages, emit: emit)
            position += length
        }
        if !deviceState.isEmpty { try encoder.deviceState(deviceState, asDelta: mode != .off, emit: emit) }
        try encoder.end(emit: emit)
        try records.flush(deadline: deadline)
    }

    private func record(dirty: UInt64, wire: UInt64) {
        let (counts, kinds, held) = (encoder.counts, records.counts, references.pages.count)
        statistics.withLock { status in
            status.dirtyBytes += dirty
            status.wireBytes += wire
            status.unchangedPages += counts.unchanged
            status.zeroPages += counts.zero
            status.deltaPages += counts.delta
            status.wholePages += counts.whole
            status.plainRecords = kinds.plain
            status.lz4Records = kinds.lz4
            status.zstdRecords = kinds.zstd
            status.referenceBytes = UInt64(held * GuestPage.size)
        }
    }
}
