// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOSSL
import NIOTLS

/// One end of a control channel behind its TLS handler: pins the peer's name, then cuts frames.
///
/// The accepting end sends an empty frame as soon as it has accepted the peer, and the connecting end is open only with it: in
/// TLS 1.3 the connecting end cannot know otherwise whether its own certificate was accepted.
final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case greeting(peer: String?)
        case open(ControlChannel, ControlChannel.Handlers)
        case over
    }

    private let role: ControlTLS.Role
    private let expected: Set<String>
    private let deadline: NIODeadline
    private let opened: (ControlChannel) -> ControlChannel.Handlers
    private let failed: (LinkError, String) -> Void
    private var state = State.greeting(peer: nil)
    private var parser = FrameParser()
    private var alarm: Scheduled<Void>?

    /// - Parameters:
    ///   - expected: the names of which the peer must prove one.
    ///   - deadline: until when the channel must be open.
    ///   - opened: called once when the peer is authenticated; gives the channel's handlers.
    ///   - failed: called once, with the peer's address, when it ends before it opened.
    init(
        role: ControlTLS.Role, expected: Set<String>, deadline: NIODeadline,
        opened: @escaping (ControlChannel) -> ControlChannel.Handlers, failed: @escaping (LinkError, String) -> Void
    ) {
        self.role = role
        self.expected = expected
        self.deadline = deadline
        self.opened = opened
        self.failed = failed
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        alarm = context.eventLoop.scheduleTask(deadline: deadline) {
            let (handler, context) = bound.value
            handler.end(context, LinkError(.timedOut, "the TLS handshake with the peer did not end in time; check that it is alive"))
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent { pinPeer(context) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        parser.append(&bytes)
        do throws(LinkError) {
            while case .some(let frame) = try nextFrame() { take(frame, context) }
        } catch {
            end(context, error)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(context, Self.describe(error))
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(context, LinkError(.closed, "the peer closed the control channel"))
        context.fireChannelInactive()
    }

    private func nextFrame() throws(LinkError) -> [UInt8]? {
        switch state {
        case .greeting: try parser.next(limit: role == .connecting ? 0 : ControlChannel.maximumFrameLength)
        case .open: try parser.next(limit: ControlChannel.maximumFrameLength)
        case .over: nil
        }
    }

    private func take(_ frame: [UInt8], _ context: ChannelHandlerContext) {
        switch state {
        case .greeting(peer: let peer?) where role == .connecting: open(peer, context)
        case .open(_, let handlers) where !frame.isEmpty: handlers.frame(frame)
        default: end(context, LinkError(.protocolViolation, "the peer sent a frame that may not come at this place"))
        }
    }

    private func pinPeer(_ context: ChannelHandlerContext) {
        do {
            guard let certificate = try context.pipeline.syncOperations.nioSSL_peerCertificate() else {
                return end(context, LinkError(.tls, "the peer presented no certificate"))
            }
            guard let name = CertificateNames.match(certificate, expected: expected) else {
                let (seen, wanted) = (CertificateNames.names(of: certificate), expected.sorted())
                return end(
                    context,
                    LinkError(
                        .wrongPeer,
                        "the peer's certificate names \(seen.joined(separator: ", ")), expected is \(wanted.joined(separator: " or "))"))
            }
            state = .greeting(peer: name)
            guard role == .accepting else { return }
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(integer: UInt32(0))), promise: nil)
            open(name, context)
        } catch {
            end(context, Self.describe(error))
        }
    }

    private func open(_ peer: String, _ context: ChannelHandlerContext) {
        alarm?.cancel()
        let channel = ControlChannel(channel: context.channel, peerName: peer, peerAddress: Self.address(context))
        state = .open(channel, ControlChannel.Handlers(frame: { _ in }, closed: { _ in }))
        let handlers = opened(channel)
        guard case .open = state else {
            // The callback closed the channel, and that took effect inside of it.
            return handlers.closed(channel.closeReason(otherwise: LinkError(.closed, "the peer closed the control channel")))
        }
        state = .open(channel, handlers)
    }

    /// Ends the channel and reports it, once.
    private func end(_ context: ChannelHandlerContext, _ error: LinkError) {
        alarm?.cancel()
        let ended = state
        state = .over
        switch ended {
        case .over: return
        case .greeting: failed(error, Self.address(context))
        case .open(let channel, let handlers): handlers.closed(channel.closeReason(otherwise: error))
        }
        context.close(promise: nil)
    }

    private static func address(_ context: ChannelHandlerContext) -> String {
        guard let address = context.remoteAddress else { return "unknown" }
        return "\(address.ipAddress ?? "unknown"):\(address.port ?? 0)"
    }

    private static func describe(_ error: any Error) -> LinkError {
        switch error {
        case let error as LinkError: error
        case NIOSSLError.uncleanShutdown: LinkError(.closed, "the peer ended the control channel without a goodbye", cause: error)
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            LinkError(.tls, "TLS with the peer failed; check both hosts' certificates, their validity and the authority", cause: error)
        default: LinkError(.closed, "the control channel broke", cause: error)
        }
    }
}
