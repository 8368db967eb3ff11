// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A framed message path between two daemons over mutual TLS 1.3, the peer pinned by name.
///
/// A frame is a length (u32, big-endian: bytes that follow, 1 to 4,194,304) and as many bytes, whose meaning is the caller's
/// (JSON). The accepting end begins with one empty frame (length 0) once it has accepted the peer's certificate and name;
/// the connecting end sends nothing before it. Frames of one sender arrive in order, whole or not at all. There is no
/// heartbeat here.
public final class ControlChannel: Sendable {
    /// The largest frame in bytes.
    public static let maximumFrameLength = 4 << 20
    /// Bytes in line above which a peer that does not read is given up.
    static let maximumPendingBytes = 32 << 20

    /// What happens on a channel. Both are called on its event loop, in order, and must return at once.
    public struct Handlers: Sendable {
        /// A frame arrived.
        public var frame: @Sendable ([UInt8]) -> Void
        /// The channel is closed; called exactly once and last. Nil when `close()` was called on this side.
        public var closed: @Sendable (LinkError?) -> Void

        public init(frame: @escaping @Sendable ([UInt8]) -> Void, closed: @escaping @Sendable (LinkError?) -> Void) {
            self.frame = frame
            self.closed = closed
        }
    }

    private struct Condition {
        var isClosing = false
        /// Why this side closed it; the outer nil when it did not.
        var reason: LinkError??
        var pendingBytes = 0
    }

    /// The peer's name, as pinned and proved by its certificate.
    public let peerName: String
    /// The peer's address as text, for messages.
    public let peerAddress: String

    private let channel: any Channel
    private let condition = Mutex(Condition())

    init(channel: any Channel, peerName: String, peerAddress: String) {
        self.channel = channel
        self.peerName = peerName
        self.peerAddress = peerAddress
    }

    /// Connects, authenticates and pins the peer. Blocks the calling thread: never call it on an event loop.
    ///
    /// - Parameters:
    ///   - peerName: the name that the peer's certificate must carry.
    ///   - timeout: for connection and handshake together.
    ///   - handlers: may be called for the channel just before this returns.
    /// - Throws: `.connectFailed`, `.timedOut`, `.tls`, `.wrongPeer`, `.configuration`; `.closed` or `.tls` when the peer does
    ///   not accept this host's certificate or name.
    public static func connect(
        host: String, port: UInt16, tls: ControlTLS, peerName: String, timeout: Duration = .seconds(5), handlers: Handlers
    ) throws(LinkError) -> ControlChannel {
        let context = try tls.makeContext(.connecting)
        let loop = ControlEventLoop.group.next()
        let opened = loop.makePromise(of: ControlChannel.self)
        let deadline = NIODeadline.now() + TimeAmount(timeout)
        ClientBootstrap(group: loop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connectTimeout(TimeAmount(timeout))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = ControlHandler(
                        role: .connecting, expected: [peerName], deadline: deadline,
                        opened: { channel in
                            opened.succeed(channel)
                            return handlers
                        }, failed: { error, _ in opened.fail(error) })
                    try channel.pipeline.syncOperations.addHandlers(
                        NIOSSLClientHandler(context: context, serverHostname: nil), handler)
                }
            }
            .connect(host: host, port: Int(port)).whenFailure { error in
                opened.fail(connectFailure(error, "no connection to \(host) port \(port); check that its daemon runs"))
            }
        do {
            return try opened.futureResult.wait()
        } catch {
            throw error as? LinkError ?? LinkError(.connectFailed, "no connection to \(host) port \(port)", cause: error)
        }
    }

    /// Puts a frame in line; from any thread, never blocks. A frame in line when the channel breaks is lost: `closed` says so.
    ///
    /// - Throws: `.tooLarge` for an empty frame or one above 4 MiB; `.closed` when the channel is closing or closed, or when the
    ///   peer left more than 32 MiB unread, which also closes it.
    public func send(_ frame: [UInt8]) throws(LinkError) {
        guard (1...Self.maximumFrameLength).contains(frame.count) else {
            throw LinkError(.tooLarge, "a control frame has 1 to \(Self.maximumFrameLength) bytes, this one \(frame.count)")
        }
        let size = 4 + frame.count
        let unread = LinkError(.closed, "\(peerName) does not read its control channel; check that its daemon is alive")
        let fits = try condition.withLock { condition throws(LinkError) -> Bool in
            guard !condition.isClosing else { throw LinkError(.closed, "the control channel to \(peerName) is closed") }
            guard condition.pendingBytes + size <= Self.maximumPendingBytes else {
                condition.isClosing = true
                condition.reason = unread
                return false
            }
            condition.pendingBytes += size
            return true
        }
        guard fits else {
            channel.close(promise: nil)
            throw unread
        }
        var buffer = channel.allocator.buffer(capacity: size)
        buffer.writeInteger(UInt32(frame.count))
        buffer.writeBytes(frame)
        channel.writeAndFlush(buffer).whenComplete { [self] _ in condition.withLock { $0.pendingBytes -= size } }
    }

    /// Closes the channel after the frames in line were written; from any thread.
    public func close() {
        let first = condition.withLock { condition in
            defer { condition.isClosing = true }
            if !condition.isClosing { condition.reason = .some(nil) }
            return !condition.isClosing
        }
        if first { channel.close(promise: nil) }
    }

    /// Notes that the channel is closed.
    ///
    /// - Returns: why: nil after `close()`, this side's own reason to give up, or else what the caller saw.
    func closeReason(otherwise seen: LinkError) -> LinkError? {
        condition.withLock { condition in
            condition.isClosing = true
            return condition.reason ?? seen
        }
    }

    private static func connectFailure(_ error: any Error, _ message: String) -> LinkError {
        if let error = error as? LinkError { return error }
        if case .connectTimeout? = error as? ChannelError { return LinkError(.timedOut, message, cause: error) }
        return LinkError(.connectFailed, message, cause: error)
    }
}
