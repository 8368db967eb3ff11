// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
public import UnderstudyCore

/// Accepts checkpoint streams on the backup host.
///
/// One thread accepts, reads prefaces and first records of all waiting connections at once, each within a time limit, and
/// hands a stream over only when its first record verified with the session's key and is a primary's hello. At most
/// `maximumWaiting` connections wait at a time; others stay in the kernel's queue. Everything else is closed.
public final class CheckpointListener: Sendable {
    /// What the listener does with connections. All are called on its thread and must return at once.
    public struct Handlers: Sendable {
        /// The key of a session that this host expects; nil when there is none.
        public var key: @Sendable (CheckpointSessionID) -> CheckpointSessionKey?
        /// An authenticated stream and the primary's first message; the answering hello is the owner's task.
        public var accepted: @Sendable (SealedStream, WireMessage.Hello) -> Void
        /// A connection that was closed because of an error, with the peer's address; for logs.
        public var rejected: @Sendable (LinkError, String) -> Void

        public init(
            key: @escaping @Sendable (CheckpointSessionID) -> CheckpointSessionKey?,
            accepted: @escaping @Sendable (SealedStream, WireMessage.Hello) -> Void,
            rejected: @escaping @Sendable (LinkError, String) -> Void = { _, _ in }
        ) {
            self.key = key
            self.accepted = accepted
            self.rejected = rejected
        }
    }

    /// The address and port on which it listens; the kernel's choice when port 0 was asked for.
    public let host: String
    public let port: UInt16

    private let listening: StreamSocket
    private let thread: DedicatedThread

    /// Listens and starts the thread.
    ///
    /// - Parameters:
    ///   - host: address of this host, such as `::`, `0.0.0.0` or a certain one.
    ///   - port: TCP port; 0 lets the kernel choose.
    ///   - options: for the accepted sockets.
    ///   - greetingLimit: time from acceptance to the verified hello.
    ///   - maximumWaiting: connections that may be between acceptance and hello.
    /// - Throws: `.configuration` when the address cannot be listened on, `.system`.
    public init(
        host: String, port: UInt16, options: StreamOptions = StreamOptions(), greetingLimit: Duration = .seconds(1),
        maximumWaiting: Int = 32, handlers: Handlers
    ) throws(LinkError) {
        let descriptor = try TCPSocket.listen(host: host, port: port, backlog: 128)
        let listening = StreamSocket(descriptor: descriptor)
        self.listening = listening
        guard let address = SocketAddress.describe(descriptor, peer: false) else { throw TCPSocket.failure("getsockname") }
        self.host = address.host
        self.port = address.port
        let loop = AcceptLoop(
            listening: listening, options: options, greetingLimit: greetingLimit,
            maximumWaiting: max(maximumWaiting, 1), handlers: handlers)
        thread = try DedicatedThread(name: "ckpt-accept") { loop.run() }
    }

    deinit {
        listening.shutdown()
    }

    /// Stops listening and closes the connections that are not accepted yet. Accepted streams live on.
    public func stop() {
        listening.shutdown()
        thread.join()
    }
}
