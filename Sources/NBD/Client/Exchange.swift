/// Requests and replies of a client once the export is chosen.
struct Exchange {
    /// Reads under way at once, and the bytes of each.
    static let depth = 8
    static let pieceLimit: UInt32 = 1 << 20
    /// The most bytes that one status request covers.
    static let statusLimit: UInt64 = 1 << 30
    /// The most status descriptors in one chunk; QEMU sends at most 2 MiB of them.
    private static let descriptorLimit: UInt32 = 1 << 19
    /// Errors that one request may have before it is done.
    private static let errorLimit = 64

    struct Chunk {
        let isLast: Bool
        let type: UInt16
        let cookie: UInt64
        let length: UInt32
    }

    let socket: StreamSocket
    private let maximumPayload: UInt32
    private let contexts: Set<UInt32>
    private var nextCookie: UInt64 = 1
    private var broken: NBDError?

    init(_ socket: StreamSocket, maximumPayload: UInt32, contexts: Set<UInt32>) {
        self.socket = socket
        self.maximumPayload = maximumPayload
        self.contexts = contexts
    }

    /// Takes leave as the protocol wants it; the connection may be gone already.
    mutating func leave() {
        guard broken == nil else { return }
        do throws(NBDError) { _ = try send(.disconnect, at: 0, length: 0) } catch { broken = error }
    }

    mutating func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(NBDError) {
        try guarded { (exchange) throws(NBDError) in
            var reading = PipelinedRead(bytes, at: offset, piece: Int(min(Self.pieceLimit, exchange.maximumPayload)))
            try reading.run(&exchange)
        }
    }

    mutating func blockStatus(_ context: UInt32, at offset: UInt64, length: UInt32) throws(NBDError) -> [NBDExtent] {
        var extents: [NBDExtent] = []
        try guarded { (exchange) throws(NBDError) in
            extents = try exchange.receiveStatus(context, of: exchange.send(.blockStatus, at: offset, length: length), length)
        }
        return extents
    }

    /// Whatever leaves replies unread makes the connection useless.
    private mutating func guarded(_ body: (inout Exchange) throws(NBDError) -> Void) throws(NBDError) {
        if let broken { throw broken }
        do throws(NBDError) { try body(&self) } catch {
            if error.code != .requestFailed { broken = error }
            throw error
        }
    }

    /// The cookie of the request that was sent.
    mutating func send(_ command: Wire.Command, at offset: UInt64, length: UInt32) throws(NBDError) -> UInt64 {
        let cookie = nextCookie
        nextCookie &+= 1
        var request: [UInt8] = []
        request.reserveCapacity(Wire.requestSize)
        request.append(bigEndian: Wire.requestMagic)
        request.append(bigEndian: UInt16(0))
        request.append(bigEndian: command.rawValue)
        request.append(bigEndian: cookie)
        request.append(bigEndian: offset)
        request.append(bigEndian: length)
        try socket.send(request)
        return cookie
    }

    func receiveChunk() throws(NBDError) -> Chunk {
        try withTemporary(Wire.chunkHeaderSize) { (bytes) throws(NBDError) in
            try socket.receiveRest(into: bytes)
            var reader = WireReader(UnsafeRawBufferPointer(bytes))
            guard reader.next(UInt32.self) == Wire.structuredReplyMagic, let flags: UInt16 = reader.next(),
                let type: UInt16 = reader.next(),
                let cookie: UInt64 = reader.next(), let length: UInt32 = reader.next()
            else { throw Self.violation("something that is no structured reply") }
            return Chunk(isLast: flags & Wire.Chunk.done != 0, type: type, cookie: cookie, length: length)
        }
    }

    /// An error chunk's content.
    func receiveError(_ chunk: Chunk) throws(NBDError) -> NBDError {
        guard (6...8192).contains(chunk.length) else { throw Self.violation("an error of \(chunk.length) bytes") }
        return try withTemporary(Int(chunk.length)) { (bytes) throws(NBDError) in
            try socket.receiveRest(into: bytes)
            var reader = WireReader(UnsafeRawBufferPointer(bytes))
            guard let number: UInt32 = reader.next(), number != 0, let count: UInt16 = reader.next(), let text = reader.take(Int(count))
            else {
                throw Self.violation("a torn error")
            }
            let said = text.isEmpty ? "" : ": \(String(decoding: text, as: UTF8.self))"
            return NBDError(
                .requestFailed, "the server answered with error \(number)\(said)", reason: NBDErrorCode(rawValue: number) ?? .inputOutput)
        }
    }

    private func receiveStatus(_ context: UInt32, of cookie: UInt64, _ length: UInt32) throws(NBDError) -> [NBDExtent] {
        var extents: [NBDExtent] = []
        var seen: Set<UInt32> = []
        var failure: NBDError?
        var errors = 0
        while true {
            let chunk = try receiveChunk()
            guard chunk.cookie == cookie else { throw Self.violation("a reply to a request that was not sent") }
            switch chunk.type {
            case Wire.Chunk.blockStatus.rawValue:
                let (identifier, described) = try receiveDescriptors(chunk, length)
                guard contexts.contains(identifier), seen.insert(identifier).inserted else {
                    throw Self.violation("the status of a meta context that was not chosen, or twice")
                }
                if identifier == context { extents = described }
            case Wire.Chunk.none.rawValue where chunk.length == 0 && chunk.isLast: break
            case 0x8000...:
                failure = try receiveError(chunk)
                errors += 1
                guard errors <= Self.errorLimit else { throw Self.violation("endless errors") }
            default: throw Self.violation("a reply that does not fit a status request")
            }
            guard chunk.isLast else { continue }
            if let failure { throw failure }
            guard !extents.isEmpty else { throw Self.violation("no status") }
            return extents
        }
    }

    private func receiveDescriptors(_ chunk: Chunk, _ length: UInt32) throws(NBDError) -> (UInt32, [NBDExtent]) {
        guard chunk.length >= 12, chunk.length % 8 == 4, chunk.length / 8 <= Self.descriptorLimit else {
            throw Self.violation("a status of \(chunk.length) bytes")
        }
        return try withTemporary(Int(chunk.length)) { (bytes) throws(NBDError) in
            try socket.receiveRest(into: bytes)
            var reader = WireReader(UnsafeRawBufferPointer(bytes))
            guard let identifier: UInt32 = reader.next() else { throw Self.violation("a torn status") }
            var extents: [NBDExtent] = []
            extents.reserveCapacity(Int(chunk.length / 8))
            var left = UInt64(length)
            // The last extent may go beyond the request, and what follows it is of no interest.
            while left > 0, let count: UInt32 = reader.next(), let flags: UInt32 = reader.next() {
                guard count > 0 else { throw Self.violation("a status of nothing") }
                let part = min(left, UInt64(count))
                extents.append(NBDExtent(length: part, flags: flags))
                left -= part
            }
            return (identifier, extents)
        }
    }

    /// Typed throws through the standard library's temporary allocation, which only rethrows untyped.
    private func withTemporary<Value>(
        _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(NBDError) -> Value
    ) throws(NBDError) -> Value {
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
        defer { space.deallocate() }
        return try body(space)
    }

    static func violation(_ what: String) -> NBDError { NBDError(.protocolViolation, "the server sent \(what)") }
}
