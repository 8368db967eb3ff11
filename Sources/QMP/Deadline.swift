import Glibc

/// A moment until which to wait; without a moment, for ever.
package struct Deadline: Sendable {
    private let moment: ContinuousClock.Instant?

    package init(after duration: Duration?) {
        moment = duration.map { ContinuousClock.now.advanced(by: $0) }
    }

    /// The rest in milliseconds for poll(2): rounded up, 0 when passed, -1 for ever.
    package var pollMilliseconds: CInt {
        guard let moment else { return -1 }
        let rest = ContinuousClock.now.duration(to: moment)
        guard rest > .zero else { return 0 }
        let (seconds, attoseconds) = rest.components
        guard seconds < 1_000_000 else { return 1_000_000_000 }
        return CInt(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }

    package var hasPassed: Bool { moment.map { ContinuousClock.now >= $0 } ?? false }

    /// Waits until one of two descriptors has something to read (or is at its end). A negative descriptor is passed over.
    /// False when the deadline has passed first. A signal is not an end.
    package func waitToRead(_ first: CInt, _ second: CInt = -1) throws(QMPError) -> Bool {
        try wait(first, second, events: Int16(POLLIN))
    }

    /// Waits until `descriptor` takes bytes; false when the deadline has passed first.
    package func waitToWrite(_ descriptor: CInt) throws(QMPError) -> Bool {
        try wait(descriptor, -1, events: Int16(POLLOUT))
    }

    private func wait(_ first: CInt, _ second: CInt, events: Int16) throws(QMPError) -> Bool {
        var two = (pollfd(fd: first, events: events, revents: 0), pollfd(fd: second, events: events, revents: 0))
        while true {
            let ready = withUnsafeMutablePointer(to: &two) { pair in
                // SAFETY: a tuple of two equal types is laid out like an array of two.
                poll(UnsafeMutableRawPointer(pair).assumingMemoryBound(to: pollfd.self), 2, pollMilliseconds)
            }
            if ready > 0 { return true }
            if ready == 0 && hasPassed { return false }
            if ready < 0 && errno != EINTR && errno != EAGAIN {
                throw QMPError(.systemCall, "poll failed: \(String(cString: strerror(errno)))")
            }
        }
    }
}
