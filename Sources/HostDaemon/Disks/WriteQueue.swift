internal import Synchronization
internal import UnderstudyCore

/// The guest's writes on their way from the NBD server's threads to the thread that sends them.
///
/// Holds half as many bytes as its arena; a write that finds no room waits, no longer than `patience`. The other half is for the writes in
/// flight when QEMU stops the guest, which it must not wait for: a link that is too slow lengthens the epoch, not the stop. Then, or when the link is gone, the queue
/// is broken: from that moment on it takes every write and forgets it, so that no guest ever hangs on its replication.
final class WriteQueue: @unchecked Sendable {
    // SAFETY: the variables are only touched inside `lock`.
    private let lock = ConditionLock()
    private var arena: WriteArena
    private var log = WriteLog()
    private var reason: String?
    private var isStopped = false
    private var bytesTaken: UInt64 = 0
    /// How many writes wait for room.
    private var waiting = 0
    /// Until when QEMU may wait for writes while it stops the guest; nil while the guest runs.
    private var stopsUntil: UInt64?
    private let patience: UInt64
    private let scratch: StagingArena
    private let broken: @Sendable (String) -> Void

    /// Where forgotten writes go: NBD's largest request.
    static let largestWrite = 32 << 20
    private static let scratchNumber = -1

    /// - Parameters:
    ///   - patience: nanoseconds that a guest's write may wait for room.
    ///   - broken: called once, on the thread that noticed, with the reason.
    init(byteCount: Int, patience: UInt64, broken: @escaping @Sendable (String) -> Void) throws(HostDaemonError) {
        arena = try WriteArena(byteCount: max(byteCount, 2 * Self.largestWrite))
        scratch = try StagingArena(byteCount: Self.largestWrite)
        self.patience = patience
        self.broken = broken
    }

    /// What the status says.
    struct Backlog: Sendable {
        var bytes: UInt64
        /// Bytes that were handed to the sender since the beginning.
        var sentBytes: UInt64
    }

    var backlog: Backlog {
        lock.withLock { Backlog(bytes: log.waitingBytes, sentBytes: bytesTaken) }
    }

    /// Why the queue takes nothing more in; nil while it works.
    var failure: String? { lock.withLock { reason } }

    /// Room for the data of a write that is about to be received.
    ///
    /// - Parameter begun: since when the write has waited, monotonic nanoseconds.
    func reserve(_ length: Int, since begun: UInt64 = MonotonicClock.now) -> (number: Int, bytes: UnsafeMutableRawBufferPointer)? {
        let end = begun + patience
        var stalled = false
        let place: (number: Int, bytes: UnsafeMutableRawBufferPointer)? = lock.withLock {
            while reason == nil {
                let hasRoom = stopsUntil != nil || arena.isEmpty || arena.usedBytes + length <= arena.byteCount / 2
                if hasRoom, let place = arena.reserve(length) { return place }
                let limit = min(end, stopsUntil ?? .max)
                waiting += 1
                let wasWoken = lock.wait(until: limit)
                waiting -= 1
                stalled = !wasWoken && MonotonicClock.now >= min(end, stopsUntil ?? .max)
                if stalled { break }
            }
            guard length <= scratch.bytes.count else { return nil }
            return (Self.scratchNumber, UnsafeMutableRawBufferPointer(rebasing: scratch.bytes[..<length]))
        }
        if stalled {
            let waited = (MonotonicClock.now - begun) / 1_000_000
            fail("the link or the backup takes the guest's writes too slowly: one waited \(waited) ms for room")
        }
        return place
    }

    /// The write will not come after all.
    func abandon(_ number: Int) { release(number) }

    /// Puts a write into the line.
    ///
    /// - Parameter place: the number of the reserved region; nil without data.
    func append(_ kind: DiskMessage.Kind, disk: UInt16, offset: UInt64, length: UInt64, place: Int?) {
        lock.withLock {
            // What was reserved before the failure is given back by nobody: nothing is sent any more.
            guard reason == nil, place != Self.scratchNumber else { return }
            let superfluous = log.append(kind, disk: disk, offset: offset, length: length, place: place ?? Self.scratchNumber)
            if let superfluous, superfluous != Self.scratchNumber { arena.release(superfluous) }
            lock.announce()
        }
    }

    /// QEMU is about to stop the guest, for which it completes every request: they get room that others do not.
    ///
    /// - Parameter nanoseconds: how long a request may wait even so; then the queue is broken.
    func beginStop(within nanoseconds: UInt64) {
        lock.withLock {
            stopsUntil = MonotonicClock.now + nanoseconds
            roomCame()
        }
    }

    /// The guest runs again, or does not stop.
    func endStop() { lock.withLock { stopsUntil = nil } }

    /// The guest stands still: everything put into the line until now belongs to the epoch.
    ///
    /// - Returns: the number of the epoch's last write.
    func close() -> UInt64 {
        lock.withLock {
            log.close()
            return log.boundary
        }
    }

    /// The epoch counts: its end goes to the backup after its last write.
    func mark(_ identity: EpochIdentity, through entry: UInt64) {
        lock.withLock {
            log.mark(identity, through: entry)
            lock.announce()
        }
    }

    /// The next item without waiting; nil when nothing waits.
    func takeIfAny() -> WriteLog.Item? { lock.withLock { next() } }

    /// Waits for the next item; nil when the queue was stopped.
    func take() -> WriteLog.Item? {
        lock.withLock {
            while !isStopped {
                if let item = next() { return item }
                _ = lock.wait()
            }
            return nil
        }
    }

    private func next() -> WriteLog.Item? {
        guard reason == nil, !isStopped, let item = log.next() else { return nil }
        if case .entry(let entry) = item, entry.kind == .data { bytesTaken += entry.length }
        return item
    }

    /// The data of a write that was taken; valid until `release`.
    func data(of entry: WriteLog.Entry) -> UnsafeRawBufferPointer? {
        entry.place == Self.scratchNumber ? nil : lock.withLock { arena.bytes(of: entry.place) }
    }

    /// Gives the room of a write back.
    func release(_ number: Int) {
        guard number != Self.scratchNumber else { return }
        lock.withLock {
            arena.release(number)
            roomCame()
        }
    }

    /// Wakes those who wait for room, and nobody else.
    private func roomCame() { if waiting > 0 { lock.announce() } }

    /// Takes nothing more in.
    func fail(_ why: String) {
        let isFirst = lock.withLock {
            defer { lock.announce() }
            guard reason == nil else { return false }
            reason = why
            return true
        }
        if isFirst { broken(why) }
    }

    /// Waits for a write that is newer than `entry`; its number, or nil when the queue was stopped.
    func waitForWrite(after entry: UInt64) -> UInt64? {
        lock.withLock {
            while !isStopped {
                if log.boundary > entry { return log.boundary }
                _ = lock.wait()
            }
            return nil
        }
    }

    /// Ends all waiting.
    func stop() {
        lock.withLock {
            isStopped = true
            if reason == nil { reason = "replication ended" }
            lock.announce()
        }
    }
}
