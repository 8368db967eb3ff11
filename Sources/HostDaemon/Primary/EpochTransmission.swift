internal import GuestMemory
internal import Links
internal import UnderstudyCore

/// Encodes, seals and sends one epoch after the other, straight from the staging arena.
///
/// Owned by one thread; allocates when it is made, never per page.
final class EpochTransmission {
    private let stream: SealedStream
    private var encoder = EpochEncoder()

    init(stream: SealedStream) { self.stream = stream }

    /// Sends one epoch whole and hands it to the kernel.
    ///
    /// - Parameters:
    ///   - runs: the pages' places; their contents lie in `pages` in the same order without gaps.
    ///   - deviceState: empty for a round of the synchronisation.
    ///   - patience: how long the link may take for the whole epoch.
    func send(
        _ begin: WireMessage.EpochBegin, runs: UnsafeBufferPointer<PageRun>, pages: UnsafeRawBufferPointer,
        deviceState: UnsafeRawBufferPointer, patience: Duration
    ) throws(LinkError) {
        let deadline = ContinuousClock.now + patience
        let stream = stream
        let emit = { (pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(LinkError) in
            try stream.writer.write(pieces, deadline: deadline)
        }
        try encoder.begin(begin, emit: emit)
        var position = 0
        for run in runs {
            let length = Int(run.count) * GuestPage.size
            let content = UnsafeRawBufferPointer(rebasing: pages[position..<position + length])
            try encoder.append(
                block: run.block, offset: UInt64(run.firstPage) * UInt64(GuestPage.size), pages: content, isZero: isZeroPage, emit: emit)
            position += length
        }
        if !deviceState.isEmpty { try encoder.deviceState(deviceState, emit: emit) }
        try encoder.end(emit: emit)
        try stream.writer.flush(deadline: deadline)
    }
}
