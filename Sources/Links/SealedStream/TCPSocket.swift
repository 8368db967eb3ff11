// SPDX-License-Identifier: Apache-2.0

import Glibc

/// Makes TCP sockets: connected ones, listening ones, and their options.
enum TCPSocket {
    /// Connects to the first address of a host that answers.
    static func connect(
        host: String, port: UInt16, options: StreamOptions, deadline: ContinuousClock.Instant
    ) throws(LinkError) -> StreamSocket {
        let addresses = try SocketAddress.resolve(host: host, port: port, passive: false)
        var failure = LinkError(.connectFailed, "host \(host) has no address; check its name in the configuration")
        for address in addresses {
            do {
                return try connect(to: address, options: options, deadline: deadline)
            } catch {
                failure = LinkError(
                    error.code == .timedOut ? .timedOut : .connectFailed,
                    "no connection to \(host) port \(port); check that its daemon runs and that no firewall is between", cause: error)
            }
        }
        throw failure
    }

    /// A listening socket.
    static func listen(host: String, port: UInt16, backlog: Int32) throws(LinkError) -> Int32 {
        guard let address = try SocketAddress.resolve(host: host, port: port, passive: true).first else {
            throw LinkError(.configuration, "the listen address \(host) does not exist; correct it in the configuration")
        }
        let descriptor = socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("socket") }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        let result = address.withPointer { Glibc.bind(descriptor, $0, $1) }
        guard result == 0, Glibc.listen(descriptor, backlog) == 0 else {
            let number = errno
            close(descriptor)
            throw LinkError(
                .configuration,
                "cannot listen on \(host) port \(port): \(SystemCall.describe(number)); correct the address or free the port")
        }
        return descriptor
    }

    /// Sets what every checkpoint stream needs: no delay, big buffers, a limit for unacknowledged data.
    static func configure(_ descriptor: Int32, _ options: StreamOptions) throws(LinkError) {
        let (seconds, attoseconds) = options.unacknowledgedTimeout.components
        let settings: [(level: Int32, name: Int32, value: Int32)] = [
            (Int32(IPPROTO_TCP), TCP_NODELAY, 1),
            (Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000)),
        ]
        for setting in settings {
            var value = setting.value
            guard setsockopt(descriptor, setting.level, setting.name, &value, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
                throw failure("setsockopt")
            }
        }
        for name in [SO_SNDBUFFORCE, SO_RCVBUFFORCE] {
            var value = options.socketBufferBytes
            // Without CAP_NET_ADMIN this fails, and the kernel goes on sizing the buffers itself. The unprivileged options would
            // end that and cap them at net.core.wmem_max and rmem_max, which is usually far less.
            setsockopt(descriptor, SOL_SOCKET, name, &value, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    static func failure(_ call: String) -> LinkError {
        LinkError(.system, "\(call) failed: \(SystemCall.describe(errno))")
    }

    private static func connect(
        to address: SocketAddress, options: StreamOptions, deadline: ContinuousClock.Instant
    ) throws(LinkError) -> StreamSocket {
        let descriptor = socket(address.family, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("socket") }
        let stream = StreamSocket(descriptor: descriptor)
        // The buffers must be set before the connection, since they decide the window scale.
        try configure(descriptor, options)
        if address.withPointer({ Glibc.connect(descriptor, $0, $1) }) == 0 { return stream }
        guard errno == EINPROGRESS || errno == EINTR else { throw failure("connect") }
        try stream.wait(for: Int32(POLLOUT), until: deadline)
        var (number, size): (Int32, socklen_t) = (0, socklen_t(MemoryLayout<Int32>.size))
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &number, &size) == 0 else { throw failure("getsockopt") }
        guard number == 0 else { throw LinkError(.connectFailed, SystemCall.describe(number)) }
        return stream
    }
}
