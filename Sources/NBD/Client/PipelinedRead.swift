/// One read of any length as requests of bounded length, several of them under way at once.
struct PipelinedRead {
    private struct Piece {
        let cookie: UInt64
        let range: Range<Int>
        /// How much of it has come; servers send a request's pieces in ascending order.
        var received = 0
        var errors = 0
        var failed = false
    }

    private let bytes: UnsafeMutableRawBufferPointer
    private let offset: UInt64
    private let piece: Int
    private var sent = 0
    private var underWay: [Piece] = []
    private var failure: NBDError?

    init(_ bytes: UnsafeMutableRawBufferPointer, at offset: UInt64, piece: Int) {
        self.bytes = bytes
        self.offset = offset
        self.piece = piece
        underWay.reserveCapacity(Exchange.depth)
    }

    /// After the first failed request no more are sent, but all replies are awaited: the connection stays usable.
    mutating func run(_ exchange: inout Exchange) throws(NBDError) {
        while true {
            while failure == nil, sent < bytes.count, underWay.count < Exchange.depth {
                let range = sent..<min(bytes.count, sent + piece)
                let cookie = try exchange.send(.read, at: offset + UInt64(range.lowerBound), length: UInt32(range.count))
                underWay.append(Piece(cookie: cookie, range: range))
                sent = range.upperBound
            }
            if underWay.isEmpty { break }
            try receive(exchange)
        }
        if let failure { throw failure }
    }

    private mutating func receive(_ exchange: Exchange) throws(NBDError) {
        let chunk = try exchange.receiveChunk()
        guard let index = underWay.firstIndex(where: { $0.cookie == chunk.cookie }) else {
            throw Exchange.violation("a reply to a request that was not sent")
        }
        switch chunk.type {
        case Wire.Chunk.offsetData.rawValue: try receiveData(exchange, chunk, index)
        case Wire.Chunk.offsetHole.rawValue: try receiveHole(exchange, chunk, index)
        case Wire.Chunk.none.rawValue where chunk.length == 0 && chunk.isLast: break
        case 0x8000...:
            failure = try exchange.receiveError(chunk)
            underWay[index].failed = true
            underWay[index].errors += 1
            guard underWay[index].errors <= 64 else { throw Exchange.violation("endless errors") }
        default: throw Exchange.violation("a reply that does not fit a read")
        }
        guard chunk.isLast else { return }
        let finished = underWay.remove(at: index)
        guard finished.failed || finished.received == finished.range.count else {
            throw Exchange.violation("only \(finished.received) of \(finished.range.count) bytes")
        }
    }

    private mutating func receiveData(_ exchange: Exchange, _ chunk: Exchange.Chunk, _ index: Int) throws(NBDError) {
        guard chunk.length > 8 else { throw Exchange.violation("data of no bytes") }
        let place = try next(exchange, index, count: Int(chunk.length) - 8)
        try exchange.socket.receiveRest(into: place)
    }

    private mutating func receiveHole(_ exchange: Exchange, _ chunk: Exchange.Chunk, _ index: Int) throws(NBDError) {
        guard chunk.length == 12 else { throw Exchange.violation("a torn hole") }
        let expected = offset + UInt64(underWay[index].range.lowerBound + underWay[index].received)
        var start: UInt64 = 0
        var count: UInt32 = 0
        // SAFETY: any bytes are a number.
        try withUnsafeMutableBytes(of: &start) { (bytes) throws(NBDError) in try exchange.socket.receiveRest(into: bytes) }
        try withUnsafeMutableBytes(of: &count) { (bytes) throws(NBDError) in try exchange.socket.receiveRest(into: bytes) }
        guard UInt64(bigEndian: start) == expected, count != 0 else { throw Exchange.violation("a hole that is not where it belongs") }
        let place = try advance(index, count: Int(UInt32(bigEndian: count)))
        place.initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// The place of the data whose offset comes next on the connection.
    private mutating func next(_ exchange: Exchange, _ index: Int, count: Int) throws(NBDError) -> UnsafeMutableRawBufferPointer {
        let expected = offset + UInt64(underWay[index].range.lowerBound + underWay[index].received)
        var start: UInt64 = 0
        // SAFETY: any bytes are a number.
        try withUnsafeMutableBytes(of: &start) { (bytes) throws(NBDError) in try exchange.socket.receiveRest(into: bytes) }
        guard UInt64(bigEndian: start) == expected else { throw Exchange.violation("data that is not where it belongs") }
        return try advance(index, count: count)
    }

    private mutating func advance(_ index: Int, count: Int) throws(NBDError) -> UnsafeMutableRawBufferPointer {
        let rest = underWay[index].range.count - underWay[index].received
        guard count <= rest else { throw Exchange.violation("more data than was asked for") }
        let begin = underWay[index].range.lowerBound + underWay[index].received
        underWay[index].received += count
        return UnsafeMutableRawBufferPointer(rebasing: bytes[begin..<begin + count])
    }
}
