/// Serves exports at a Unix socket: one thread that accepts, and one per connection.
public final class NBDServer: Sendable {
    /// The longest payload of a read or write, as advertised: what QEMU sends at most.
    public static let maximumPayload = 32 << 20
    /// The most connections at once; the next one is closed at once.
    public static let connectionLimit = 64

    public let socketPath: String
    private let listener: ListeningSocket
    private let connections: ConnectionTable

    /// - Parameters:
    ///   - exports: their names differ.
    ///   - handshakeTimeout: how long a client may stay silent before it has chosen its export; afterwards for ever.
    ///   - report: hears why a connection ended that did not end well, and why one could not be served; called on the server's threads.
    public init(
        socketPath: String, exports: [any NBDExport], access: NBDSocketAccess = NBDSocketAccess(),
        handshakeTimeout: Duration = .seconds(30),
        report: @escaping @Sendable (NBDError) -> Void = { _ in }
    ) throws(NBDError) {
        self.socketPath = socketPath
        let listener = try ListeningSocket(path: socketPath, access: access)
        self.listener = listener
        let connections = ConnectionTable(exports: exports, handshakeTimeout: handshakeTimeout, report: report)
        self.connections = connections
        do throws(NBDError) {
            try connections.startAccepting(from: listener)
        } catch {
            listener.stop()
            throw error
        }
    }

    deinit { stop() }

    public var connectionCount: Int { connections.count }

    /// Cuts every connection and returns at once, also while their threads are inside the export or wait for their clients: the clients see
    /// the end of the connection now, the threads go as soon as the export lets them. New connections are welcome.
    public func disconnectAll() { connections.disconnectAll() }

    /// Accepts nothing more, cuts every connection, removes the path, and waits for the threads: an export that hangs keeps this waiting.
    /// Not to be called by the export.
    public func stop() {
        listener.stop()
        connections.stop()
    }
}
