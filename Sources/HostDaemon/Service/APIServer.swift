internal import Foundation
internal import Glibc
internal import HostAPI
internal import LinuxShim

/// Answers clients on the daemon's Unix socket: decodes a request, calls the host, encodes its answers.
///
/// Every connection has a thread of its own, since a request may last as long as a synchronisation.
public final class APIServer: Sendable {
    /// What a connection can do for the request that it carries.
    struct Exchange: Sendable {
        let descriptor: CInt

        /// Sends one line; false when the client is gone.
        @discardableResult
        func send(_ reply: HostReply) -> Bool {
            guard let line = try? JSONEncoder.contract.encode(reply) + [0x0a] else {
                preconditionFailure("a reply is always representable as JSON")
            }
            return line.withUnsafeBytes { UnixSocket.writeAll(descriptor, $0) }
        }

        /// True while the client has not closed its end.
        var isOpen: Bool { understudy_peer_has_closed(descriptor) == 0 }
    }

    private let listener: CInt
    private let path: String
    private let host: Host
    private static let longestRequest = 1 << 20
    private static let mostConnections = 64
    private let connections = ConnectionCount()

    /// Listens at a path; a socket that a dead daemon left there is replaced.
    public init(path: String, host: Host) throws(HostDaemonError) {
        listener = try Self.claim(path)
        self.path = path
        self.host = host
    }

    /// Listens at a path in the place of a dead daemon's socket; removes nothing else.
    ///
    /// - Parameter patience: seconds for a daemon that was just killed: the kernel closes its sockets only after its taps and memory.
    static func claim(_ path: String, patience: Double = 3) throws(HostDaemonError) -> CInt {
        let end = MonotonicClock.now + MonotonicClock.nanoseconds(seconds: patience)
        while true {
            let probe = UnixSocket.connect(path: path)
            if probe < 0 { break }
            close(probe)
            guard MonotonicClock.now < end else {
                throw HostDaemonError(.busy, "another understudyd answers at \(path): stop it, or configure another `socket`")
            }
            usleep(20_000)
        }
        var status = stat()
        if lstat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFSOCK else {
                throw HostDaemonError(.configuration, "\(path) is there and no socket: configure another `socket`, or move that file away")
            }
            unlink(path)
        }
        let listener = UnixSocket.listen(path: path)
        guard listener >= 0 else {
            throw HostDaemonError(.system, "cannot listen at \(path): \(String(cString: strerror(errno)))")
        }
        return listener
    }

    /// Accepts clients until the process ends.
    public func start() throws(HostDaemonError) {
        try DedicatedThread(name: "api") { [self] in
            while true {
                let descriptor = understudy_accept(listener)
                guard descriptor >= 0 else {
                    if errno == EINTR || errno == ECONNABORTED { continue }
                    usleep(10_000)
                    continue
                }
                guard connections.enter(limit: Self.mostConnections) else {
                    Exchange(descriptor: descriptor).send(
                        .error(HostAPIError(code: "busy", message: "too many clients are connected: try again later")))
                    close(descriptor)
                    continue
                }
                do throws(HostDaemonError) {
                    try DedicatedThread(name: "api-client") { [self] in
                        // The thread is this client's own: it may wait.
                        _ = fcntl(descriptor, F_SETFL, 0)
                        serve(descriptor)
                        close(descriptor)
                        connections.leave()
                    }
                } catch {
                    Exchange(descriptor: descriptor).send(.error(HostAPIError(code: error.code.rawValue, message: error.message)))
                    close(descriptor)
                    connections.leave()
                }
            }
        }
    }

    private func serve(_ descriptor: CInt) {
        let exchange = Exchange(descriptor: descriptor)
        var buffer: [UInt8] = []
        while true {
            while let end = buffer.firstIndex(of: 0x0a) {
                let line = Data(buffer[..<end])
                buffer.removeSubrange(...end)
                answer(line, on: exchange)
            }
            guard buffer.count <= Self.longestRequest else {
                exchange.send(.error(HostAPIError(code: "bad-request", message: "the request is longer than \(Self.longestRequest) bytes")))
                return
            }
            guard UnixSocket.readMore(descriptor, into: &buffer) else { return }
        }
    }

    private func answer(_ line: Data, on exchange: Exchange) {
        let request: HostRequest
        do {
            request = try JSONDecoder().decode(HostRequest.self, from: line)
        } catch {
            exchange.send(
                .error(
                    HostAPIError(
                        code: "bad-request",
                        message: "the request is not understood: send one JSON object per line as docs/operations.md describes")))
            return
        }
        do throws(HostDaemonError) {
            exchange.send(.result(try host.perform(request, exchange: exchange)))
        } catch {
            exchange.send(.error(HostAPIError(code: error.code.rawValue, message: error.message)))
        }
    }
}

extension JSONEncoder {
    /// The encoding of every document that clients read: keys in a fixed order.
    static var contract: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}
