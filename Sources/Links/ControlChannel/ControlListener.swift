// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// Accepts control channels of known peers.
///
/// A peer is accepted when its certificate is signed by the configured authority and names one of the expected peers. Everyone
/// else is closed and reported; the listener lives on.
public final class ControlListener: Sendable {
    /// What the listener does with connections. All are called on an event loop and must return at once.
    public struct Handlers: Sendable {
        /// An authenticated channel. The returned handlers get its frames from the first one on.
        public var accepted: @Sendable (ControlChannel) -> ControlChannel.Handlers
        /// A connection that was closed because of an error, with the peer's address; for logs.
        public var rejected: @Sendable (LinkError, String) -> Void

        public init(
            accepted: @escaping @Sendable (ControlChannel) -> ControlChannel.Handlers,
            rejected: @escaping @Sendable (LinkError, String) -> Void = { _, _ in }
        ) {
            self.accepted = accepted
            self.rejected = rejected
        }
    }

    /// The address and port on which it listens; the kernel's choice when port 0 was asked for.
    public let host: String
    public let port: UInt16

    private let channel: any Channel
    private let greetings: Greetings
    private let tls: ControlTLS
    private let context: CurrentContext

    /// Listens. Blocks the calling thread for a moment: never call it on an event loop.
    ///
    /// - Parameters:
    ///   - peers: the names that are accepted.
    ///   - handshakeLimit: time from acceptance to the end of the handshake.
    ///   - maximumWaiting: connections that may be in the handshake at a time; one more is closed at once.
    /// - Throws: `.configuration` when files or address cannot be used.
    public init(
        host: String, port: UInt16, tls: ControlTLS, peers: Set<String>, handshakeLimit: Duration = .seconds(2),
        maximumWaiting: Int = 64, handlers: Handlers
    ) throws(LinkError) {
        let context = CurrentContext(try tls.makeContext(.accepting))
        let greetings = Greetings(limit: maximumWaiting)
        let bootstrap = ServerBootstrap(group: ControlEventLoop.group)
            .serverChannelOption(.backlog, value: 128)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try greetings.makeHandler(channel, peers: peers, limit: handshakeLimit, handlers: handlers)
                    try channel.pipeline.syncOperations.addHandlers(NIOSSLServerHandler(context: context.value), handler)
                }
            }
        do {
            channel = try bootstrap.bind(host: host, port: Int(port)).wait()
        } catch {
            throw LinkError(
                .configuration, "cannot listen on \(host) port \(port); correct the address or free the port", cause: error)
        }
        self.greetings = greetings
        self.tls = tls
        self.context = context
        self.host = channel.localAddress?.ipAddress ?? host
        self.port = UInt16(channel.localAddress?.port ?? Int(port))
    }

    deinit {
        channel.close(promise: nil)
        greetings.closeAll()
    }

    /// Reads the TLS files again, for connections from now on. Accepted channels live on.
    ///
    /// - Throws: `.configuration` when the files cannot be used; the old ones stay in force.
    public func renew() throws(LinkError) { context.value = try tls.makeContext(.accepting) }

    /// Stops listening and closes connections that are not accepted yet. Accepted channels live on.
    public func stop() {
        channel.close(promise: nil)
        greetings.closeAll()
    }
}

/// The TLS context of the next connection.
private final class CurrentContext: Sendable {
    private let storage: Mutex<NIOSSLContext>

    init(_ context: NIOSSLContext) { storage = Mutex(context) }

    var value: NIOSSLContext {
        get { storage.withLock { $0 } }
        set { storage.withLock { $0 = newValue } }
    }
}
