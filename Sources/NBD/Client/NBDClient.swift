import Synchronization

/// Reads an export of an NBD server at a Unix socket, such as the disk of a running guest out of QEMU's own server.
///
/// Calls block and come from one thread at a time (others wait); `cut` may come from any. The server is not trusted: every length, offset and
/// order is examined. After an error other than `requestFailed` the connection is of no use any more and every later call throws it again.
public final class NBDClient: Sendable {
    /// What the server said about the export.
    public let byteCount: UInt64
    public let isReadOnly: Bool
    /// Reads begin and end at multiples of it, in bytes.
    public let minimumBlockSize: UInt32
    /// The chosen meta contexts and their identifiers.
    private let contexts: [String: UInt32]
    private let socket: StreamSocket
    private let exchange: Mutex<Exchange>

    /// Connects and chooses an export.
    /// - Parameters:
    ///   - contexts: names such as `base:allocation` and `qemu:dirty-bitmap:NAME`; the server must have all of them.
    ///   - timeout: how long the server may be silent while it owes an answer.
    public init(
        socketPath: String, exportName: String, contexts: [String] = [], timeout: Duration = .seconds(30)
    ) throws(NBDError) {
        socket = try StreamSocket.connect(path: socketPath)
        try socket.setTimeout(timeout)
        let offer = try ClientHandshake(socket).run(exportName: exportName, contexts: contexts)
        byteCount = offer.byteCount
        isReadOnly = offer.flags & Wire.TransmissionFlag.readOnly != 0
        minimumBlockSize = offer.minimumBlockSize
        self.contexts = offer.contexts
        exchange = Mutex(Exchange(socket, maximumPayload: offer.maximumBlockSize, contexts: Set(offer.contexts.values)))
    }

    deinit { exchange.withLock { $0.leave() } }

    /// Ends the connection; a call that waits in it throws.
    public func cut() { socket.cut() }

    /// Fills `bytes` from the export; several requests are under way at once.
    public func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(NBDError) {
        try examine(offset, UInt64(bytes.count))
        try exchange.withLock { (exchange) throws(NBDError) in try exchange.read(into: bytes, at: offset) }
    }

    /// The status of the range from its beginning on: at least one extent, none of length 0, nothing beyond the range. The server may
    /// describe less than was asked for: ask again behind the last extent, or use `forEachExtent`.
    public func blockStatus(context: String, at offset: UInt64, length: UInt64) throws(NBDError) -> [NBDExtent] {
        try examine(offset, length)
        guard let identifier = contexts[context] else {
            throw NBDError(.refused, "the meta context \(context) was not chosen when the connection was made", reason: nil)
        }
        guard length > 0 else { return [] }
        return try exchange.withLock { (exchange) throws(NBDError) in
            try exchange.blockStatus(identifier, at: offset, length: UInt32(min(length, Exchange.statusLimit)))
        }
    }

    /// The whole range, extent by extent in ascending order; neighbours may have the same status.
    public func forEachExtent(
        context: String, at offset: UInt64, length: UInt64, _ body: (_ offset: UInt64, NBDExtent) throws(NBDError) -> Void
    ) throws(NBDError) {
        try examine(offset, length)
        var place = offset
        while place < offset + length {
            for extent in try blockStatus(context: context, at: place, length: offset + length - place) {
                try body(place, extent)
                place += extent.length
            }
        }
    }

    private func examine(_ offset: UInt64, _ length: UInt64) throws(NBDError) {
        let (end, overflow) = offset.addingReportingOverflow(length)
        guard !overflow, end <= byteCount else {
            throw NBDError(.requestFailed, "\(length) bytes at \(offset) go beyond the export's \(byteCount)", reason: .invalid)
        }
    }
}
