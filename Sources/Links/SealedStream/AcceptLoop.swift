// SPDX-License-Identifier: Apache-2.0

import Glibc
import LinuxShim
import UnderstudyCore

/// The loop of a `CheckpointListener`'s thread.
final class AcceptLoop: @unchecked Sendable {
    // SAFETY: everything mutable is used by the listener's thread only.
    private let listening: StreamSocket
    private let options: StreamOptions
    private let greetingLimit: Duration
    private let maximumWaiting: Int
    private let handlers: CheckpointListener.Handlers
    private var waiting: [WaitingConnection] = []
    /// After a failed accept, such as without a free descriptor, the listening socket rests until then.
    private var restUntil: ContinuousClock.Instant?

    init(
        listening: StreamSocket, options: StreamOptions, greetingLimit: Duration, maximumWaiting: Int,
        handlers: CheckpointListener.Handlers
    ) {
        self.listening = listening
        self.options = options
        self.greetingLimit = greetingLimit
        self.maximumWaiting = maximumWaiting
        self.handlers = handlers
    }

    func run() {
        while !listening.isShutDown {
            let accepts = waiting.count < maximumWaiting && restUntil == nil
            // Without events, poll(2) still reports the shutdown that ends this loop.
            var entries = [pollfd(fd: listening.descriptor, events: accepts ? Int16(POLLIN) : 0, revents: 0)]
            entries += waiting.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            _ = poll(&entries, nfds_t(entries.count), timeout())
            let now = ContinuousClock.now
            if let rest = restUntil, rest <= now { restUntil = nil }
            advance(ready: entries.dropFirst().map { $0.revents != 0 }, now: now)
            if entries[0].revents & Int16(POLLIN) != 0 { acceptAll() }
        }
        waiting = []
    }

    /// Milliseconds until the next thing that happens by itself.
    private func timeout() -> Int32 {
        guard let next = (waiting.map(\.deadline) + [restUntil].compactMap { $0 }).min() else { return -1 }
        return PollTimeout.milliseconds(until: next)
    }

    private func advance(ready: [Bool], now: ContinuousClock.Instant) {
        waiting = zip(waiting, ready).compactMap { connection, isReady in
            do throws(LinkError) {
                if isReady, let (stream, hello) = try connection.advance(handlers: handlers, options: options) {
                    handlers.accepted(stream, hello)
                    return nil
                }
                guard connection.deadline > now else {
                    throw LinkError(.timedOut, "a connection to the checkpoint port did not greet within \(greetingLimit)")
                }
                return connection
            } catch {
                handlers.rejected(error, connection.peerAddress)
                return nil
            }
        }
    }

    private func acceptAll() {
        while waiting.count < maximumWaiting {
            let descriptor = understudy_accept(listening.descriptor)
            guard descriptor >= 0 else {
                if errno == EINTR || errno == ECONNABORTED { continue }
                if errno != EAGAIN {
                    restUntil = ContinuousClock.now + .milliseconds(100)
                    handlers.rejected(TCPSocket.failure("accept"), "")
                }
                return
            }
            let socket = StreamSocket(descriptor: descriptor)
            let address = SocketAddress.describe(descriptor, peer: true).map { "\($0.host):\($0.port)" } ?? "unknown"
            do throws(LinkError) {
                try TCPSocket.configure(descriptor, options)
                waiting.append(WaitingConnection(socket: socket, peerAddress: address, deadline: ContinuousClock.now + greetingLimit))
            } catch {
                handlers.rejected(error, address)
            }
        }
    }
}
