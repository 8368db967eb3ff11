import Glibc

/// Sockets of the client's machine; made on a thread inside its namespace. All non-blocking and close-on-exec.
enum ClientSocket {
    /// A TCP connection without Nagle's delay; nil when it does not stand within the time.
    static func connect(to address: String, port: UInt16, milliseconds: Int32) -> Int32? {
        let deadline = MonotonicTime.now() + UInt64(milliseconds) * 1_000_000
        repeat {
            if let socket = connectOnce(to: address, port: port, until: deadline) { return socket }
            // Refused or unreachable: the service may be about to come up.
            MonotonicTime.sleep(milliseconds: 20)
        } while MonotonicTime.now() < deadline
        return nil
    }

    /// A connected UDP socket; nil when it cannot be made.
    static func datagram(to address: String, port: UInt16) -> Int32? {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard socket >= 0 else { return nil }
        guard connect(socket, to: address, port: port) == 0 else {
            close(socket)
            return nil
        }
        return socket
    }

    /// Waits until the socket is ready or has an error; false when the time is over.
    static func wait(_ socket: Int32, for events: Int32, milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
        return poll(&entry, 1, milliseconds) > 0
    }

    private static func connectOnce(to address: String, port: UInt16, until deadline: UInt64) -> Int32? {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard socket >= 0 else { return nil }
        var on: Int32 = 1
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        let result = connect(socket, to: address, port: port)
        var code: Int32 = result == 0 ? 0 : errno
        let now = MonotonicTime.now()
        if code == EINPROGRESS, now < deadline,
            wait(socket, for: POLLOUT, milliseconds: Int32((deadline - now) / 1_000_000) + 1)
        {
            var length = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &length)
        }
        if code == 0 { return socket }
        close(socket)
        return nil
    }

    private static func connect(_ socket: Int32, to address: String, port: UInt16) -> Int32 {
        var to = sockaddr_in()
        to.sin_family = sa_family_t(AF_INET)
        to.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &to.sin_addr)
        // SAFETY: sockaddr_in is a socket address of the given length; the pointer does not outlive the call.
        return withUnsafePointer(to: &to) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
