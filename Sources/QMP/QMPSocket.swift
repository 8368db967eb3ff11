import Glibc
import LinuxShim

/// The byte side of a monitor connection: lines in, bytes and descriptors out.
struct QMPSocket: ~Copyable {
    let descriptor: CInt
    private let path: String
    private var lines: LineBuffer
    private var chunk: UnsafeMutableRawBufferPointer

    /// Longest accepted line in bytes.
    static let lineLimit = 16 << 20
    private static let sendTimeout = Duration.seconds(5)

    init(path: String) throws(QMPError) {
        let result = understudy_connect_unix(path)
        guard result >= 0 else {
            throw QMPError(
                .connectFailed,
                "cannot connect to the QMP socket \(path): \(String(cString: strerror(-result))); "
                    + "check that QEMU runs with -qmp unix:\(path),server=on,wait=off and that no other client keeps it busy")
        }
        descriptor = result
        self.path = path
        lines = LineBuffer(limit: Self.lineLimit)
        chunk = .allocate(byteCount: 65536, alignment: 16)
    }

    deinit {
        chunk.deallocate()
        _ = Glibc.close(descriptor)
    }

    mutating func hasLine() -> Bool { lines.hasLine() }

    /// The next line; nil when the deadline passes first.
    mutating func line(before deadline: Deadline) throws(QMPError) -> ArraySlice<UInt8>? {
        while true {
            if let line = lines.next() { return line }
            if lines.isOverfull {
                throw QMPError(.protocolViolation, "a line of more than \(Self.lineLimit) bytes came from \(path): this is not QEMU")
            }
            if try read() { continue }
            guard try deadline.waitToRead(descriptor) else { return nil }
        }
    }

    /// Reads what is there without waiting; false when there is nothing.
    private mutating func read() throws(QMPError) -> Bool {
        while true {
            let count = recv(descriptor, chunk.baseAddress, chunk.count, Int32(MSG_DONTWAIT))
            if count > 0 {
                // SAFETY: recv filled the first `count` bytes of the chunk.
                lines.append(UnsafeRawBufferPointer(rebasing: chunk[..<count]))
                return true
            }
            if count == 0 || errno == ECONNRESET || errno == EPIPE {
                throw QMPError(.closed, "QEMU closed the monitor \(path): it ended, or the socket was taken away")
            }
            if errno == EAGAIN { return false }
            if errno != EINTR { throw QMPError(.systemCall, "recv from \(path) failed: \(String(cString: strerror(errno)))") }
        }
    }

    func send(_ bytes: [UInt8], passing passed: CInt?) throws(QMPError) {
        let deadline = Deadline(after: Self.sendTimeout)
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes { all in
                // SAFETY: the pointer stays inside `bytes` because sent < count, and lives for the call only.
                understudy_send_with_descriptor(descriptor, all.baseAddress! + sent, all.count - sent, sent == 0 ? passed ?? -1 : -1)
            }
            if count >= 0 {
                sent += count
                continue
            }
            switch CInt(-count) {
            case EINTR: continue
            case EAGAIN:
                guard try deadline.waitToWrite(descriptor) else {
                    throw QMPError(.timeout, "QEMU does not read from its monitor \(path): it hangs or is stopped")
                }
            case EPIPE, ECONNRESET:
                throw QMPError(.closed, "QEMU closed the monitor \(path): it ended, or the socket was taken away")
            default:
                throw QMPError(.systemCall, "sending to \(path) failed: \(String(cString: strerror(CInt(-count))))")
            }
        }
    }
}
