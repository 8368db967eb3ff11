internal import Glibc
internal import Hypervisor

/// Flushes the primary's own images while the guest runs. QEMU flushes them at every stop, and what lies in the page cache by then would
/// lengthen the guest's pause.
///
/// A matter of speed only: what it cannot open or flush, QEMU flushes itself.
final class ImageFlusher: Sendable {
    private let queue: WriteQueue
    private let thread: DedicatedThread

    /// After a flush the next one waits so long, in microseconds, so that a busy disk has more to do than to flush.
    private static let rest: useconds_t = 2_000

    /// - Parameters:
    ///   - disks: those that use the page cache are flushed.
    ///   - workingDirectory: QEMU's, to which relative paths refer.
    ///   - queue: tells of the guest's writes; its end is the thread's end.
    /// - Returns: nil when there is nothing to flush.
    init?(disks: [BlockDevice], workingDirectory: String, queue: WriteQueue) throws(HostDaemonError) {
        let descriptors = disks.filter(\.usesPageCache).compactMap { $0.path(from: workingDirectory) }.map { path in
            open(path, O_RDONLY | O_CLOEXEC)
        }.filter { $0 >= 0 }
        guard !descriptors.isEmpty else { return nil }
        self.queue = queue
        thread = try DedicatedThread(name: "disk-flusher") {
            var last: UInt64 = 0
            while let newest = queue.waitForWrite(after: last) {
                last = newest
                for descriptor in descriptors { _ = fdatasync(descriptor) }
                usleep(Self.rest)
            }
            for descriptor in descriptors { close(descriptor) }
        }
    }

    /// Waits for the thread; the queue must have been stopped.
    func join() { thread.join() }
}
