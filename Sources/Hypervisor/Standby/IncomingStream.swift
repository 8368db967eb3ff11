import Glibc
import LinuxShim
import UnderstudyCore

/// This side of the socket through which a QEMU receives its migration stream.
///
/// Writes never wait longer than their deadline. One thread at a time uses it; the end of this object closes the stream.
final class IncomingStream {
    /// Why bytes could not be written.
    enum Failure: Error {
        /// QEMU closed its end: it refused the stream and is ending, or has ended.
        case closed
        case timeout
        case systemCall(Int32)
    }

    private let descriptor: Int32
    /// QEMU's end; closed here once QEMU has its own copy.
    private var remote: Int32
    private let vectors: UnsafeMutableBufferPointer<iovec>

    /// A pair of connected sockets.
    init() throws(HypervisorError) {
        var pair: (Int32, Int32) = (-1, -1)
        let result = withUnsafeMutableBytes(of: &pair) { bytes in
            // SAFETY: the tuple is two adjacent Int32, which is what socketpair fills.
            socketpair(
                AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0,
                bytes.baseAddress?.assumingMemoryBound(to: Int32.self))
        }
        guard result == 0 else {
            throw HypervisorError(.systemCall, "no socket pair for the standby's stream: \(ChildProcess.text(errno))")
        }
        (descriptor, remote) = pair
        // More bytes on their way mean fewer changes between this thread and QEMU's; the kernel's default holds 50 pages.
        var size: Int32 = 4 << 20
        if setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, 4) != 0 { setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, 4) }
        // SAFETY: released in deinit and nowhere else. 1024 is the kernel's limit for one call (UIO_MAXIOV).
        vectors = .allocate(capacity: 1024)
    }

    deinit {
        vectors.deallocate()
        Glibc.close(descriptor)
        if remote >= 0 { Glibc.close(remote) }
    }

    /// QEMU's end, to be passed to it.
    var remoteEnd: Int32 { remote }

    /// Closes QEMU's end here, so that the end of QEMU is seen as a closed connection.
    func closeRemoteEnd() {
        Glibc.close(remote)
        remote = -1
    }

    /// Whether QEMU has read everything that was written.
    func isTaken() throws(Failure) -> Bool {
        let count = understudy_bytes_untaken(descriptor)
        guard count >= 0 else { throw .systemCall(-count) }
        return count == 0
    }

    /// Writes all of `segments`.
    func write(_ segments: UnsafeBufferPointer<StreamSegment>, until deadline: ContinuousClock.Instant) throws(Failure) {
        var index = 0
        var skip = 0
        while index < segments.count {
            var count = 0
            while count < vectors.count, index + count < segments.count {
                let segment = segments[index + count]
                let done = count == 0 ? skip : 0
                // SAFETY: sendmsg only reads through iov_base; the caller keeps the segments' memory valid during this call.
                vectors[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: segment.base + done), iov_len: segment.count - done)
                count += 1
            }
            var sent = try send(count, until: deadline) + skip
            while index < segments.count, sent >= segments[index].count {
                sent -= segments[index].count
                index += 1
            }
            skip = sent
        }
    }

    /// Writes the three pieces one after the other.
    func write(
        head: [UInt8], _ middle: UnsafeRawBufferPointer, tail: [UInt8], until deadline: ContinuousClock.Instant
    ) throws(Failure) {
        let result = head.withUnsafeBytes { head in
            tail.withUnsafeBytes { tail in
                // SAFETY: all three buffers outlive the write, which keeps none of them.
                let segments = [head, middle, tail].compactMap { piece in
                    piece.baseAddress.map { StreamSegment(base: $0, count: piece.count) }
                }
                return segments.withUnsafeBufferPointer { list in
                    Result { () throws(Failure) in try write(list, until: deadline) }
                }
            }
        }
        try result.get()
    }

    /// Sends the first `count` vectors as far as they go, at least one byte.
    private func send(_ count: Int, until deadline: ContinuousClock.Instant) throws(Failure) -> Int {
        var message = msghdr()
        message.msg_iov = vectors.baseAddress
        message.msg_iovlen = count
        while true {
            let sent = sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            if sent >= 0 { return sent }
            switch errno {
            case EINTR: continue
            case EAGAIN: try waitForRoom(until: deadline)
            case EPIPE, ECONNRESET: throw .closed
            case let number: throw .systemCall(number)
            }
        }
    }

    private func waitForRoom(until deadline: ContinuousClock.Instant) throws(Failure) {
        let left = ContinuousClock.now.duration(to: deadline)
        if left <= .zero { throw .timeout }
        var poller = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = poll(&poller, 1, left.pollMilliseconds)
    }
}
