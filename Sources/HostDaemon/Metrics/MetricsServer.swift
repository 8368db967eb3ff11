internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// `/livez`, `/readyz` and `/metrics` over plain HTTP, for whoever may reach the address; nothing can be changed through it.
final class MetricsServer: Sendable {
    /// An answer to one path.
    struct Page: Sendable {
        var status: HTTPResponseStatus
        var type = "text/plain; charset=utf-8"
        var body: String
    }

    private let channel: any Channel
    /// Where it listens; the kernel's choice when port 0 was asked for.
    let port: Int

    /// Listens and serves on a thread of its own.
    ///
    /// - Parameter page: gives the page of a path; nil when there is none. Called on that thread.
    init(address: HostAndPort, page: @escaping @Sendable (String) -> Page?) throws(HostDaemonError) {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let connections = ConnectionCount()
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                guard connections.enter(limit: Self.mostConnections) else { return channel.close() }
                channel.closeFuture.whenComplete { _ in connections.leave() }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
                    try channel.pipeline.syncOperations.addHandlers(
                        IdleStateHandler(allTimeout: Self.patience), MetricsHandler(page: page))
                }
            }
        do {
            channel = try bootstrap.bind(host: address.host, port: address.port).wait()
        } catch {
            throw HostDaemonError(
                .configuration,
                "cannot listen at `metrics.listen` \(address.host) port \(address.port): \(error); free the port, or name another",
                cause: error)
        }
        port = channel.localAddress?.port ?? address.port
    }

    private static let mostConnections = 32
    /// A client that says nothing for so long is closed.
    private static let patience = TimeAmount.seconds(10)
}

/// One connection: one request, one answer.
private final class MetricsHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let page: @Sendable (String) -> MetricsServer.Page?
    private var head: HTTPRequestHead?

    init(page: @escaping @Sendable (String) -> MetricsServer.Page?) { self.page = page }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): self.head = head
        case .body: break
        case .end:
            guard let head else { return }
            self.head = nil
            answer(head, context)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) } else { context.fireUserInboundEventTriggered(event) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func answer(_ request: HTTPRequestHead, _ context: ChannelHandlerContext) {
        let path = String(request.uri.prefix { $0 != "?" })
        let isReading = request.method == .GET || request.method == .HEAD
        let page =
            isReading
            ? self.page(path) ?? MetricsServer.Page(status: .notFound, body: "there are /livez, /readyz and /metrics\n")
            : MetricsServer.Page(status: .methodNotAllowed, body: "GET only\n")
        let body = ByteBuffer(string: page.body)
        let headers: HTTPHeaders = [
            "content-type": page.type, "content-length": "\(body.readableBytes)", "connection": "close", "cache-control": "no-store",
        ]
        context.write(wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: page.status, headers: headers))), promise: nil)
        if request.method != .HEAD { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }
}
