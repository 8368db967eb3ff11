internal import Glibc
internal import Synchronization
internal import UnderstudyCore

/// The guest's writes to images that both hosts see, held back until their epoch is committed, and the thread that then writes them.
///
/// Before the first cut, and again when this host goes on alone, nothing is held: a write is answered when the image has it durably, so that
/// the guest's flushes are true. Between these, a write is answered at once. Its epoch's output leaves only when the image has it durably, so
/// that nobody outside can see a flush that was not true yet.
final class HeldWrites: @unchecked Sendable {
    // SAFETY: the variables are only touched inside `lock`; a write's memory belongs to whoever holds the write.

    /// Writes a batch to the images, in its order, then durably; says before each step that it goes on.
    typealias Writing = @Sendable (_ batch: ArraySlice<Write>, _ images: [RawImage], _ step: () -> Void) -> HostDaemonError?

    struct Write {
        var number: UInt64
        var disk: Int
        var kind: DiskMessage.Kind
        var offset: UInt64
        var length: UInt64
        var data: UnsafeMutableRawBufferPointer?
    }

    private let lock = ConditionLock()
    private var writes: [Write] = []
    private var first = 0
    private var heldBytes = 0
    private var last: UInt64 = 0
    /// The last write that the images have durably; all before it too.
    private var applied: UInt64 = 0
    /// The last write that the images may get.
    private var limit = UInt64.max
    private var isHolding = false
    /// Nil while this host must not write.
    private var images: [RawImage]?
    /// A write failed, and what the kernel has of it could still reach an image.
    private var isUnclean = false
    private var isWriting = false
    private var mayWrite = true
    private var guestIsStopping = false
    private var isStopped = false
    private var reason: String?
    /// The images are why nothing more is taken in.
    private var imagesFail = false
    /// Writes were let go of, since nobody waits for their commit any more: QEMU's overlays alone have them.
    private var isIncomplete = false
    private var waiter: (number: UInt64, done: @Sendable () -> Void)?
    private var thread: DedicatedThread?

    private let mostBytes: Int
    private let patience: UInt64
    private let broken: @Sendable (String) -> Void
    private let writing: Writing
    /// When the step of the images' thread that is under way began, monotonic nanoseconds; 0 while there is none.
    private let stepBegan = Atomic<UInt64>(0)

    /// - Parameters:
    ///   - mostBytes: beyond this the guest's writes wait for the next commit, no longer than `patience` nanoseconds.
    ///   - broken: called once, on any thread, when the images cannot be written or commits do not come.
    init(
        images: [RawImage], mostBytes: Int, patience: UInt64, writing: @escaping Writing = HeldWrites.write,
        broken: @escaping @Sendable (String) -> Void
    ) throws(HostDaemonError) {
        self.images = images
        self.writing = writing
        self.mostBytes = mostBytes
        self.patience = patience
        self.broken = broken
        thread = try DedicatedThread(name: "shared-disk", urgent: true) { [self] in apply() }
    }

    /// Bytes that wait for their commit.
    var waitingBytes: UInt64 { lock.withLock { UInt64(heldBytes) } }
    var failure: String? { lock.withLock { reason } }

    /// For how many nanoseconds the images have not taken what was given to them.
    var standstill: UInt64 {
        let (began, now) = (stepBegan.load(ordering: .relaxed), MonotonicClock.now)
        return began == 0 ? 0 : now - min(began, now)
    }

    /// Whether the images of this host are why writes are held no more; another host may see them in better health.
    var imagesHaveFailed: Bool { lock.withLock { imagesFail } }

    /// Whether the overlays hold writes that are not here, so that only QEMU itself can bring them to the images.
    var lacksWrites: Bool { lock.withLock { isIncomplete } }

    /// The last write that was taken in.
    var lastNumber: UInt64 { lock.withLock { last } }
    /// Whether the images have everything up to a write durably.
    func has(_ number: UInt64) -> Bool { lock.withLock { applied >= number } }

    // MARK: The guest's writes

    /// Waits while too much is held, except when QEMU stops the guest, for which it completes every request.
    func awaitRoom() {
        let end = MonotonicClock.now + patience
        let isLate = lock.withLock {
            while isHolding, heldBytes > mostBytes, !guestIsStopping, !isStopped, reason == nil {
                if !lock.wait(until: end), MonotonicClock.now >= end { return true }
            }
            return false
        }
        if isLate {
            // A commit that waits for its image is that image's fault.
            fail("a write waited \(patience / 1_000_000) ms for a commit that would make room", images: standstill > patience / 2)
        }
    }

    /// Takes a write in, and waits for the images unless writes are held. Held ones that come after `failure` are let go of: see `lacksWrites`.
    ///
    /// - Parameter data: is freed by this object from now on.
    /// - Returns: false when the write could not be made durable, which it should have been.
    func append(_ kind: DiskMessage.Kind, disk: Int, offset: UInt64, length: UInt64, data: UnsafeMutableRawBufferPointer?) -> Bool {
        lock.withLock {
            if isIncomplete || isHolding && reason != nil {
                // Protection is given up, and who knows when somebody decides: the memory for what is held has a bound.
                isIncomplete = true
                data?.deallocate()
                return true
            }
            last += 1
            let number = last
            writes.append(Write(number: number, disk: disk, kind: kind, offset: offset, length: length, data: data))
            heldBytes += data?.count ?? 0
            lock.announce()
            while !isHolding, applied < number {
                guard reason == nil, !isStopped, mayWrite else { return false }
                _ = lock.wait()
            }
            return true
        }
    }

    func guest(isStopping: Bool) {
        lock.withLock {
            guestIsStopping = isStopping
            lock.announce()
        }
    }

    // MARK: Epochs

    /// The guest stands still and its requests are answered: the number of the last write until now.
    ///
    /// The first time, writes begin to be held.
    func cut() -> UInt64 {
        lock.withLock {
            if !isHolding {
                isHolding = true
                limit = last
            }
            return last
        }
    }

    /// The epoch that ends with this write is on the backup: the images may get it.
    ///
    /// - Parameter done: called once, on any thread, when they have it durably; never if that fails.
    func commit(through number: UInt64, done: @escaping @Sendable () -> Void) {
        let isThere = lock.withLock {
            if limit < number { limit = number }
            guard applied < number else { return true }
            waiter = (number, done)
            lock.announce()
            return false
        }
        if isThere { done() }
    }

    // MARK: Who writes

    /// The images are another host's: nothing more goes there from here. The files are closed, and with them the locks, when the write that
    /// is under way has ended.
    func leave() {
        lock.withLock {
            mayWrite = false
            waiter = nil
            if !isWriting { images = nil }
            lock.announce()
        }
    }

    /// Holds the images against other QEMUs as the guest's own would, or not.
    func lockAsQEMU(_ isLocked: Bool) {
        lock.withLock { for image in images ?? [] { ImageLock.setAsQEMU(isLocked, image.descriptor) } }
    }

    /// Whether nothing of this host can reach the images any more.
    var hasLeft: Bool { lock.withLock { images == nil && !isUnclean } }

    /// Whether the images must be opened anew for `letGo`.
    var needsImages: Bool { lock.withLock { images == nil } }

    /// This host goes on alone: everything goes to the images, and from now on every write before it is answered. If writes are lacking, the
    /// images get what is committed.
    ///
    /// - Parameter images: opened anew, after `leave`.
    func letGo(_ images: [RawImage]? = nil) {
        lock.withLock {
            if let images { self.images = images }
            mayWrite = true
            if !isIncomplete {
                isHolding = false
                limit = .max
            }
            reason = nil
            imagesFail = false
            lock.announce()
        }
    }

    /// Waits until the images have every write that they may get; false when that fails or takes longer than so many nanoseconds.
    func drain(within nanoseconds: UInt64) -> Bool {
        let end = MonotonicClock.now + nanoseconds
        return lock.withLock {
            while applied < min(last, limit) {
                guard reason == nil, !isStopped, mayWrite, MonotonicClock.now < end else { return false }
                _ = lock.wait(until: end)
            }
            return true
        }
    }

    /// Ends the thread; what is still held is dropped.
    func stop() {
        lock.withLock {
            isStopped = true
            mayWrite = false
            lock.announce()
        }
        thread?.join()
        thread = nil
        lock.withLock {
            images = nil
            for write in writes[first...] { write.data?.deallocate() }
            writes = []
            first = 0
        }
    }
}

// MARK: The thread

extension HeldWrites {
    private func apply() {
        while let (batch, images) = next() {
            let failure = writing(batch, images) { stepBegan.store(MonotonicClock.now, ordering: .relaxed) }
            // A failed write may have left pages that the kernel would bring to the image at any later time.
            let isClean = failure == nil && !lock.withLock { isUnclean } || Self.areFlushed(images)
            stepBegan.store(0, ordering: .relaxed)
            settle(batch, failure: failure, isClean: isClean)
        }
    }

    private func next() -> (ArraySlice<Write>, [RawImage])? {
        lock.withLock {
            while !isStopped {
                if mayWrite, reason == nil, let images, first < writes.count, writes[first].number <= limit {
                    var end = first
                    while end < writes.count, end - first < 1024, writes[end].number <= limit { end += 1 }
                    isWriting = true
                    return (writes[first..<end], images)
                }
                _ = lock.wait()
            }
            return nil
        }
    }

    @Sendable static func write(_ batch: ArraySlice<Write>, to images: [RawImage], step: () -> Void) -> HostDaemonError? {
        do throws(HostDaemonError) {
            var waiting = 0
            for write in batch {
                step()
                if let data = write.data {
                    try images[write.disk].write(UnsafeRawBufferPointer(data), at: write.offset)
                } else {
                    try images[write.disk].clear(at: write.offset, length: write.length)
                }
                waiting += write.data?.count ?? 0
                if waiting >= RawImage.writeBackBytes {
                    waiting = 0
                    try images[write.disk].writeBack()
                }
            }
            for disk in Set(batch.map(\.disk)) {
                step()
                try images[disk].flush()
            }
            return nil
        } catch { return error }
    }

    private static func areFlushed(_ images: [RawImage]) -> Bool {
        images.reduce(true) { all, image in
            do throws(HostDaemonError) {
                try image.flush()
                return all
            } catch { return false }
        }
    }

    private func settle(_ batch: ArraySlice<Write>, failure: HostDaemonError?, isClean: Bool) {
        let done: (@Sendable () -> Void)? = lock.withLock {
            isWriting = false
            isUnclean = !isClean
            if !mayWrite { images = nil }
            defer { lock.announce() }
            guard failure == nil else { return nil }
            for write in batch {
                heldBytes -= write.data?.count ?? 0
                write.data?.deallocate()
            }
            first += batch.count
            applied = batch.last!.number
            if first == writes.count || first >= 4096 {
                writes.removeFirst(first)
                first = 0
            }
            guard let waiter, waiter.number <= applied else { return nil }
            self.waiter = nil
            return waiter.done
        }
        done?()
        if let failure { fail(failure.message, images: true) }
    }

    func fail(_ why: String, images: Bool) {
        let isFirst = lock.withLock {
            defer { lock.announce() }
            guard reason == nil else { return false }
            reason = why
            imagesFail = images
            return true
        }
        if isFirst { broken(why) }
    }
}
