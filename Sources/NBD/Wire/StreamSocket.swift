import Glibc
import LinuxShim

/// A connected Unix socket that blocks. Closed with its last owner, so that another thread may shut it down at any time.
final class StreamSocket: Sendable {
    let descriptor: CInt

    init(_ descriptor: CInt) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    static func connect(path: String) throws(NBDError) -> StreamSocket {
        let descriptor = understudy_connect_unix(path)
        guard descriptor >= 0 else {
            throw NBDError(
                .connectFailed, "cannot connect to \(path): \(String(cString: strerror(-descriptor))); check that the server runs")
        }
        let socket = StreamSocket(descriptor)
        try socket.setBlocking()
        return socket
    }

    /// The shim's descriptors do not block.
    func setBlocking() throws(NBDError) {
        let flags = fcntl(descriptor, F_GETFL)
        guard flags >= 0, fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) == 0 else { throw Self.failure("fcntl") }
    }

    /// Ends it in both directions: whoever waits in it returns.
    func cut() { shutdown(descriptor, CInt(SHUT_RDWR)) }

    /// How long one call may wait for the peer; nil: for ever.
    func setTimeout(_ duration: Duration?) throws(NBDError) {
        let (seconds, attoseconds) = (duration ?? .zero).components
        var time = timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        if duration != nil && time.tv_sec == 0 && time.tv_usec == 0 { time.tv_usec = 1 }
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            guard setsockopt(descriptor, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size)) == 0 else {
                throw Self.failure("setsockopt")
            }
        }
    }

    /// Fills `bytes`; false when the peer closed before their first one.
    func receive(into bytes: UnsafeMutableRawBufferPointer) throws(NBDError) -> Bool {
        var filled = 0
        while filled < bytes.count {
            // SAFETY: the pointer stays inside `bytes` since filled < count.
            let count = recv(descriptor, bytes.baseAddress! + filled, bytes.count - filled, CInt(MSG_WAITALL))
            if count > 0 {
                filled += count
            } else if count == 0 || errno == ECONNRESET {
                if filled == 0 { return false }
                throw NBDError(.truncated, "the peer vanished in the middle of a message")
            } else if errno != EINTR {
                throw Self.failure("recv")
            }
        }
        return true
    }

    /// Fills `bytes` in the middle of a message.
    func receiveRest(into bytes: UnsafeMutableRawBufferPointer) throws(NBDError) {
        guard try receive(into: bytes) else { throw NBDError(.truncated, "the peer vanished in the middle of a message") }
    }

    func send(_ bytes: UnsafeRawBufferPointer) throws(NBDError) {
        var sent = 0
        while sent < bytes.count {
            // SAFETY: the pointer stays inside `bytes` since sent < count.
            let count = Glibc.send(descriptor, bytes.baseAddress! + sent, bytes.count - sent, CInt(MSG_NOSIGNAL))
            if count > 0 {
                sent += count
            } else if errno == EPIPE || errno == ECONNRESET {
                throw NBDError(.closed, "the peer is gone")
            } else if errno != EINTR {
                throw Self.failure("send")
            }
        }
    }

    func send(_ bytes: [UInt8]) throws(NBDError) {
        try bytes.span.bytes.withUnsafeBytes { (all) throws(NBDError) in try send(all) }
    }

    private static func failure(_ call: String) -> NBDError {
        let number = errno
        if number == EAGAIN { return NBDError(.timeout, "the peer did not answer in time") }
        return NBDError(.systemCall, "\(call) failed: \(String(cString: strerror(number)))")
    }
}
