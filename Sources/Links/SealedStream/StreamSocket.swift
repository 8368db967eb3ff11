// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization

/// A non-blocking TCP socket, closed when the last user lets go of it, so that no thread ever uses a descriptor of another file.
final class StreamSocket: Sendable {
    let descriptor: Int32
    private let shutdownReason = Mutex<LinkError?>(nil)

    /// Whether `shutdown` was called.
    var isShutDown: Bool { shutdownReason.withLock { $0 != nil } }

    /// Takes over the descriptor.
    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Ends both directions and wakes every thread that waits on the socket.
    ///
    /// - Parameter reason: what every later use of the socket throws; the first one given counts.
    func shutdown(_ reason: LinkError = LinkError(.shutDown, "the checkpoint link was shut down by this daemon")) {
        shutdownReason.withLock { $0 = $0 ?? reason }
        _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR))
    }

    /// Sends as much as the kernel takes.
    ///
    /// - Returns: bytes taken; 0 when the socket is full.
    func send(_ bytes: UnsafeRawBufferPointer) throws(LinkError) -> Int {
        while true {
            let count = Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
            if count >= 0 { return count }
            if errno == EINTR { continue }
            if errno == EAGAIN { return 0 }
            throw failure(errno, "sending")
        }
    }

    /// Receives what is there.
    ///
    /// - Returns: bytes received; nil when there are none at the moment.
    /// - Throws: `.closed` at the end of the stream.
    func receive(into buffer: UnsafeMutableRawBufferPointer) throws(LinkError) -> Int? {
        while true {
            let count = recv(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
            if count > 0 { return count }
            if count == 0 { throw failure(0, "receiving") }
            if errno == EINTR { continue }
            if errno == EAGAIN { return nil }
            throw failure(errno, "receiving")
        }
    }

    /// Receives a few bytes, at most `limit`, as an array; for prefaces.
    ///
    /// - Returns: nil when there are none at the moment.
    func receiveUpTo(_ limit: Int) throws(LinkError) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: limit)
        var span = bytes.mutableSpan
        let count = try span.withUnsafeMutableBytes { bytes throws(LinkError) in try receive(into: bytes) }
        return count.map { Array(bytes[..<$0]) }
    }

    /// Waits until the socket can be written or read.
    ///
    /// - Parameter events: POLLIN or POLLOUT.
    /// - Throws: `.timedOut` at the deadline, `.shutDown` after `shutdown()`.
    func wait(for events: Int32, until deadline: ContinuousClock.Instant) throws(LinkError) {
        while true {
            if isShutDown { throw failure(0, "waiting") }
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let result = poll(&entry, 1, PollTimeout.milliseconds(until: deadline))
            if result > 0 { return }
            if result < 0, errno != EINTR { throw failure(errno, "waiting") }
            if result == 0, ContinuousClock.now >= deadline {
                throw LinkError(.timedOut, "the checkpoint link made no progress until the deadline; check the network to the peer")
            }
        }
    }

    private func failure(_ number: Int32, _ what: String) -> LinkError {
        if let reason = shutdownReason.withLock({ $0 }) { return reason }
        switch number {
        case 0: return LinkError(.closed, "the peer closed the checkpoint link")
        case EPIPE, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ECONNABORTED, ENETDOWN, EHOSTDOWN:
            return LinkError(.closed, "the checkpoint link broke while \(what): \(SystemCall.describe(number))")
        default: return LinkError(.system, "\(what) on the checkpoint link failed: \(SystemCall.describe(number))")
        }
    }
}
