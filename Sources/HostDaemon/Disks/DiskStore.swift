internal import Glibc
internal import Links
internal import Synchronization
internal import UnderstudyCore

/// The copies of a machine's disks on the backup host.
///
/// Two threads: one receives the disk stream into the stage, one takes messages out and writes them to the images, but never beyond the
/// last committed epoch. What is in the stage when the primary dies belongs to nobody and is dropped.
final class DiskStore: Sendable {
    enum Event: Sendable {
        /// All writes of the epoch are in the stage, up to this entry.
        ///
        /// - Parameter bytes: that came since the beginning, these writes included.
        case staged(EpochIdentity, through: UInt64, bytes: UInt64)
        /// The images cannot be brought up to the committed epoch any more.
        case failed(String)
        /// The stream is over.
        case ended(String)
    }

    private let isShared: Bool
    private let stage: WriteStage
    private let lengths: [UInt64]
    private let checksums: ImageChecksums
    private let progress = ConditionLock()
    private let state: State
    private let post: @Sendable (Event) -> Void

    private final class State: @unchecked Sendable {
        // SAFETY: only touched inside `progress`, but for the threads and the stream, which the session's thread alone uses, and after it the
        // one that drops everything.
        /// Those that both hosts see are here from the takeover on only.
        var images: [RawImage] = []
        /// The last entry that the primary has in the images which both hosts see; they may be forgotten.
        var released = UInt64.max
        /// The last entry that may be written to the images: everything while the disks are still being copied.
        var committed = UInt64.max
        /// Bytes that went into the images since the beginning.
        var appliedBytes: UInt64 = 0
        /// When the applying thread began with what it does now, monotonic nanoseconds; nil while it has nothing to do.
        var stepBegan: UInt64?
        var isFinishing = false
        /// Nobody will use the images: what waits is not worth writing.
        var isDropping = false
        var isDropped = false
        var failure: HostDaemonError?
        var stream: SealedStream?
        var receiver: DedicatedThread?
        var applier: DedicatedThread?
    }

    /// - Parameters:
    ///   - images: the copies; none when both hosts see the images.
    ///   - sharedLengths: the sizes of images that both hosts see, in bytes.
    init(
        images: [RawImage], sharedLengths: [UInt64] = [], memoryBytes: Int, fileBytes: Int, folder: String, readRate: UInt64 = 0,
        post: @escaping @Sendable (Event) -> Void
    ) throws(HostDaemonError) {
        isShared = !sharedLengths.isEmpty
        lengths = isShared ? sharedLengths : images.map(\.byteCount)
        checksums = ImageChecksums(images: images, bytesPerSecond: readRate)
        stage = try WriteStage(memoryBytes: memoryBytes, fileBytes: fileBytes, folder: folder)
        state = State()
        state.images = images
        self.post = post
    }

    /// Bytes that arrived and are not in the images yet.
    var backlog: UInt64 { stage.backlog }
    /// Bytes that went into the images since the beginning.
    var appliedBytes: UInt64 { progress.withLock { state.appliedBytes } }

    /// For how many nanoseconds the images' file systems have not taken what was given to them.
    var standstill: UInt64 {
        progress.withLock { state.stepBegan.map { MonotonicClock.now - min($0, MonotonicClock.now) } ?? 0 }
    }

    /// Says what the images hold already, and takes the stream; call once.
    func receive(_ stream: SealedStream, base: EpochIdentity) throws(HostDaemonError) {
        state.stream = stream
        state.receiver = try DedicatedThread(name: "disk-receiver", urgent: true) { [self] in
            do {
                // First, so that nothing of what comes is among it.
                try checksums.send(over: stream)
                try takeMessages(from: stream, base: base)
            } catch {
                // A stream that ends is the link's or the primary's matter; anything else leaves this host without a way on.
                if let error = error as? LinkError { post(.ended(error.message)) } else { post(.failed("\(error)")) }
            }
            // The primary must not take a stream that nobody reads for one that works.
            stream.shutdown()
            stage.end()
            progress.withLock { progress.announce() }
        }
        state.applier = try DedicatedThread(name: "disk-applier") { [self] in
            do throws(HostDaemonError) { try apply() } catch {
                progress.withLock {
                    state.failure = error
                    progress.announce()
                }
                post(.failed(error.message))
            }
        }
    }

    private func takeMessages(from stream: SealedStream, base: EpochIdentity) throws {
        var bytes: UInt64 = 0
        while let room = try stage.room() {
            let length = try stream.reader.read(into: room, deadline: .now + .seconds(86_400))
            switch try DiskMessage.decode(UnsafeRawBufferPointer(rebasing: room[..<length]), diskLengths: lengths) {
            case .mark(let identity, let entry):
                guard identity.generation == base.generation, identity.sessionNonce == base.sessionNonce else {
                    throw WireFormatError(.unexpectedMessage, "a mark of another session in the disk stream")
                }
                if identity.epoch == 0 {
                    commit(through: entry)
                    releaseCommitted()
                } else {
                    post(.staged(identity, through: entry, bytes: bytes))
                }
            case .data, .zeroes, .discard:
                bytes += UInt64(length)
                stage.added(length)
                progress.withLock { progress.announce() }
            }
        }
    }

    /// The epoch that ends with this entry is committed: its writes go to the images.
    func commit(through entry: UInt64) {
        progress.withLock {
            state.committed = entry
            progress.announce()
        }
    }

    /// The primary says that the images which both hosts see have all of the committed epochs: these need not be written again.
    func releaseCommitted() {
        progress.withLock {
            state.released = state.committed
            progress.announce()
        }
    }

    /// Takes messages out of the stage until it is told to finish and nothing committed is left.
    private func apply() throws(HostDaemonError) {
        var dirty: UInt64 = 0
        var waiting = 0
        while true {
            // Looked at before the stage is: what was committed before the end was asked for is then seen there.
            let (isOver, isDropping) = progress.withLock {
                state.stepBegan = MonotonicClock.now
                return (state.isFinishing, state.isDropping)
            }
            if isDropping { return }
            if let message = try stage.next(), try write(message) {
                dirty += UInt64(message.count)
                waiting += message.count
                stage.consumed(message)
                progress.withLock { state.appliedBytes += UInt64(message.count) }
                if waiting >= RawImage.writeBackBytes {
                    waiting = 0
                    try onImages { (image) throws(HostDaemonError) in try image.writeBack() }
                }
                if dirty < Self.flushBytes { continue }
            } else {
                if isOver { break }
                if dirty == 0 { waitForMore() }
            }
            if dirty > 0 {
                try flush()
                (dirty, waiting) = (0, 0)
            }
        }
        try flush()
        progress.withLock { state.stepBegan = nil }
    }

    private func flush() throws(HostDaemonError) { try onImages { (image) throws(HostDaemonError) in try image.flush() } }

    /// One step for each image.
    private func onImages(_ body: (RawImage) throws(HostDaemonError) -> Void) throws(HostDaemonError) {
        for image in progress.withLock({ state.images }) {
            progress.withLock { state.stepBegan = MonotonicClock.now }
            try body(image)
        }
    }

    /// So much may be in the page cache only.
    private static let flushBytes: UInt64 = 64 << 20

    private func waitForMore() {
        progress.withLock {
            state.stepBegan = nil
            guard !state.isFinishing else { return }
            // Whatever arrived since the look is announced within the lock; the limit covers what came in between.
            _ = progress.wait(until: MonotonicClock.now + 20_000_000)
        }
    }

    /// Writes one message to its image; false when it belongs to an epoch that is not committed yet.
    private func write(_ message: UnsafeRawBufferPointer) throws(HostDaemonError) -> Bool {
        let content: DiskMessage.Content
        do throws(WireFormatError) { content = try DiskMessage.decode(message, diskLengths: lengths) } catch {
            throw HostDaemonError(.system, "a staged write was damaged: \(error)", cause: error)
        }
        switch content {
        case .mark: return true
        case .data(let change):
            let bytes = UnsafeRawBufferPointer(rebasing: message[DiskMessage.headerLength...])
            return try apply(change) { (image) throws(HostDaemonError) in try image.write(bytes, at: change.offset) }
        case .zeroes(let change), .discard(let change):
            return try apply(change) { (image) throws(HostDaemonError) in try image.clear(at: change.offset, length: change.length) }
        }
    }

    /// False when the change has to wait.
    private func apply(
        _ change: DiskMessage.Change, _ body: (RawImage) throws(HostDaemonError) -> Void
    ) throws(HostDaemonError) -> Bool {
        let (image, isReleased, isCommitted) = progress.withLock {
            (
                state.images.isEmpty ? nil : state.images[Int(change.disk)], isShared && change.entry <= state.released,
                change.entry <= state.committed
            )
        }
        if isReleased { return true }
        guard isCommitted, let image else { return false }
        try body(image)
        return true
    }

    /// Ends the stream, writes everything committed to the images, drops the rest and makes the images durable.
    ///
    /// - Parameter shared: the images that both hosts see, which nobody else can write to any more.
    func finish(into shared: [RawImage] = []) throws(HostDaemonError) { try end(dropping: false, into: shared) }

    /// Ends the stream and leaves the images as they are, since nobody will use them.
    ///
    /// - Parameter nanoseconds: how long the threads may take for it; one that hangs in a file system ends when that goes on.
    /// - Returns: false when they take longer: the images stay open for so long.
    func drop(within nanoseconds: UInt64) throws(HostDaemonError) -> Bool {
        try DedicatedThread(name: "disk-dropper") { [self] in
            // What the images lack is told already, and concerns nobody any more.
            do throws(HostDaemonError) { try end(dropping: true) } catch {}
            progress.withLock {
                state.isDropped = true
                progress.announce()
            }
        }
        let limit = MonotonicClock.now + nanoseconds
        return progress.withLock {
            while !state.isDropped, MonotonicClock.now < limit { _ = progress.wait(until: limit) }
            return state.isDropped
        }
    }

    private func end(dropping: Bool, into shared: [RawImage] = []) throws(HostDaemonError) {
        checksums.cancel()
        state.stream?.shutdown()
        stage.end()
        state.receiver?.join()
        state.receiver = nil
        progress.withLock {
            if isShared { state.images = shared }
            state.isFinishing = true
            state.isDropping = dropping
            progress.announce()
        }
        state.applier?.join()
        state.applier = nil
        if let failure = progress.withLock({ state.failure }) { throw failure }
    }
}
