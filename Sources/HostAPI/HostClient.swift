internal import Foundation
internal import Glibc

/// A connection to the host daemon's Unix socket.
///
/// Requests and replies are lines of JSON. One request at a time; not thread-safe.
public final class HostClient {
    private let descriptor: CInt
    private var buffer: [UInt8] = []
    private let socketPath: String
    private let patience: Duration
    /// Whether the other end has shown that it is a daemon.
    private var isIntroduced = false

    /// The longest line that is accepted, in bytes.
    private static let longestLine = 16 << 20

    /// Connects to the daemon.
    ///
    /// - Parameter patience: how long the daemon may take to tell its status, which it is asked for before anything that may last.
    /// - Throws: `daemon-unreachable` when nobody listens at the path.
    public init(socketPath: String, patience: Duration = .seconds(10)) throws(HostAPIError) {
        self.socketPath = socketPath
        self.patience = patience
        let descriptor = UnixSocket.connect(path: socketPath)
        guard descriptor >= 0 else {
            throw HostAPIError(
                code: "daemon-unreachable",
                message:
                    "understudyd does not answer at \(socketPath) (\(String(cString: strerror(errno)))): start it, or name its socket with --socket"
            )
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Sends a request and hands every reply but the last to `onReply`.
    ///
    /// - Returns: the result.
    /// - Throws: the daemon's error; `daemon-gone` when the connection ends before the result, `daemon-silent` when nobody answers at
    ///   all, `bad-reply` when something else than a daemon of this version does.
    public func perform(_ request: HostRequest, onReply: (HostReply) -> Void = { _ in }) throws(HostAPIError) -> HostResult {
        if request == .status { return try exchange(.status, until: .now + patience, onReply: onReply) }
        if !isIntroduced { _ = try exchange(.status, until: .now + patience) { _ in } }
        isIntroduced = true
        return try exchange(request, until: nil, onReply: onReply)
    }

    private func exchange(
        _ request: HostRequest, until deadline: ContinuousClock.Instant?, onReply: (HostReply) -> Void
    ) throws(HostAPIError) -> HostResult {
        try send(request)
        while true {
            let reply = try receive(until: deadline)
            switch reply {
            case .result(let result): return result
            case .error(let error): throw error
            default: onReply(reply)
            }
        }
    }

    private func send(_ request: HostRequest) throws(HostAPIError) {
        do {
            let line = try JSONEncoder().encode(request) + [0x0a]
            guard line.withUnsafeBytes({ UnixSocket.writeAll(descriptor, $0) }) else { throw gone() }
        } catch let error as HostAPIError {
            throw error
        } catch {
            throw HostAPIError(code: "bad-request", message: "the request cannot be written as JSON: \(error)")
        }
    }

    private func receive(until deadline: ContinuousClock.Instant?) throws(HostAPIError) -> HostReply {
        while true {
            if let end = buffer.firstIndex(of: 0x0a) {
                let line = Data(buffer[..<end])
                buffer.removeSubrange(...end)
                do {
                    return try JSONDecoder().decode(HostReply.self, from: line)
                } catch {
                    throw HostAPIError(
                        code: "bad-reply",
                        message:
                            "what answers at \(socketPath) is not understudyd of this version: name the daemon's socket with --socket, or run the same version of both"
                    )
                }
            }
            if let deadline { try wait(until: deadline) }
            guard buffer.count < Self.longestLine, UnixSocket.readMore(descriptor, into: &buffer) else { throw gone() }
        }
    }

    private func wait(until deadline: ContinuousClock.Instant) throws(HostAPIError) {
        while true {
            let rest = ContinuousClock.now.duration(to: deadline) / .milliseconds(1)
            var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let count = poll(&ready, 1, CInt(max(0, min(rest.rounded(.up), 1_000_000))))
            if count > 0 { return }
            guard count == 0 || errno == EINTR, rest > 0 else {
                throw HostAPIError(
                    code: "daemon-silent",
                    message:
                        "whoever listens at \(socketPath) says nothing within \(patience): understudyd hangs there, or it is another program's socket"
                )
            }
        }
    }

    private func gone() -> HostAPIError {
        HostAPIError(code: "daemon-gone", message: "understudyd closed the connection at \(socketPath) before it answered: look at its log")
    }
}
