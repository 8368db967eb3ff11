internal import Glibc
internal import Synchronization
internal import LinuxShim

/// A queue of events with a descriptor that poll(2) can wait for.
///
/// Any thread posts, one thread takes.
final class Mailbox<Message: Sendable>: Sendable {
    /// Readable while something waits.
    let descriptor: CInt
    private let messages = Mutex<[Message]>([])

    init() throws(HostDaemonError) {
        descriptor = understudy_event_descriptor()
        guard descriptor >= 0 else { throw HostDaemonError(.system, "eventfd failed: \(String(cString: strerror(errno)))") }
    }

    deinit { close(descriptor) }

    func post(_ message: Message) {
        messages.withLock { $0.append(message) }
        understudy_event_signal(descriptor)
    }

    /// Waits until something is there and takes it all, oldest first.
    func waitAndTake() -> [Message] {
        var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        _ = poll(&ready, 1, -1)
        return take()
    }

    /// Everything posted so far, oldest first.
    func take() -> [Message] {
        understudy_event_clear(descriptor)
        return messages.withLock { queue in
            let taken = queue
            queue.removeAll(keepingCapacity: true)
            return taken
        }
    }
}
