/// The requests of one connection, one after the other, on its thread. Nothing is allocated per request.
struct Transmission: ~Copyable {
    let socket: StreamSocket
    let export: any NBDExport
    private let byteCount: UInt64
    private let isReadOnly: Bool
    private let hasFastZeroes: Bool
    let structuredReplies: Bool
    let hasAllocationContext: Bool
    let space: ReplySpace
    var extents: [NBDExtent] = []

    /// The most extents in one reply; the client asks again for the rest.
    static let extentLimit = 8192
    /// The longest payload of a refused write that is read away; beyond it the server hangs up.
    private static let drainLimit: UInt32 = 2 * UInt32(NBDServer.maximumPayload)

    init(_ socket: StreamSocket, _ handshake: Handshake.Result) throws(NBDError) {
        self.socket = socket
        export = handshake.export
        byteCount = export.byteCount
        isReadOnly = export.isReadOnly
        hasFastZeroes = export.hasFastZeroes
        structuredReplies = handshake.structuredReplies
        hasAllocationContext = handshake.hasAllocationContext
        space = try ReplySpace(payload: NBDServer.maximumPayload)
        extents.reserveCapacity(Self.extentLimit)
    }

    /// Returns when the client has taken its leave or hung up between two requests.
    mutating func run() throws(NBDError) {
        while try socket.receive(into: space.request) {
            guard let request = RequestHeader(UnsafeRawBufferPointer(space.request)) else {
                throw NBDError(.protocolViolation, "a request of the client does not begin with NBD's magic number")
            }
            guard let command = Wire.Command(rawValue: request.type) else {
                try fail(request, .invalid)
                continue
            }
            switch command {
            case .read: try read(request)
            case .write: try write(request)
            case .disconnect: return
            case .flush: try flush(request)
            case .trim: try trim(request)
            case .writeZeroes: try writeZeroes(request)
            case .blockStatus: try blockStatus(request)
            }
        }
    }

    /// What is wrong with a request that the export shall not see.
    func objection(
        to request: RequestHeader, flags: UInt16, changes: Bool, payload: Bool, pastEnd: NBDErrorCode = .invalid
    ) -> NBDErrorCode? {
        // FUA may stand at any command, also where it means nothing.
        if request.flags & ~(flags | Wire.CommandFlag.forceUnitAccess) != 0 { return .invalid }
        if changes && isReadOnly { return .notPermitted }
        if request.length == 0 { return .invalid }
        if payload && request.length > UInt32(NBDServer.maximumPayload) { return .overflow }
        let (end, overflow) = request.offset.addingReportingOverflow(UInt64(request.length))
        return overflow || end > byteCount ? pastEnd : nil
    }

    private func read(_ request: RequestHeader) throws(NBDError) {
        // Every reply is one piece, whether or not the client asks for that.
        let flags = structuredReplies ? Wire.CommandFlag.dontFragment : 0
        if let objection = objection(to: request, flags: flags, changes: false, payload: true) { return try fail(request, objection) }
        let length = Int(request.length)
        let data = UnsafeMutableRawBufferPointer(rebasing: space.data[..<length])
        if let failure = export.read(into: data, at: request.offset) { return try fail(request, failure) }
        if structuredReplies {
            let headerSize = Wire.chunkHeaderSize + 8
            let reply = space.reply(headerSize: headerSize, count: length)
            chunkHeader(reply, .offsetData, request, length: 8 + length)
            reply.baseAddress!.store(bigEndian: request.offset, at: Wire.chunkHeaderSize)
            try socket.send(UnsafeRawBufferPointer(reply))
        } else {
            let reply = space.reply(headerSize: Wire.simpleReplySize, count: length)
            simpleHeader(reply, request, nil)
            try socket.send(UnsafeRawBufferPointer(reply))
        }
        space.release(beyondReply: length)
    }

    private func write(_ request: RequestHeader) throws(NBDError) {
        if let objection = objection(to: request, flags: 0, changes: true, payload: true, pastEnd: .noSpace) {
            return try refuseWrite(request, objection)
        }
        guard let buffer = export.reserve(length: Int(request.length)) else { return try refuseWrite(request, .noMemory) }
        precondition(buffer.bytes.count == Int(request.length), "an export reserved another length than it was asked for")
        do throws(NBDError) {
            try socket.receiveRest(into: buffer.bytes)
        } catch {
            export.abandon(buffer)
            throw error
        }
        try answer(request, export.write(buffer, at: request.offset, forceUnitAccess: request.has(Wire.CommandFlag.forceUnitAccess)))
    }

    /// Reads the payload away, so that the next request is found behind it.
    private func refuseWrite(_ request: RequestHeader, _ objection: NBDErrorCode) throws(NBDError) {
        guard request.length <= Self.drainLimit else {
            throw NBDError(.protocolViolation, "the client announced a write of \(request.length) bytes")
        }
        var left = Int(request.length)
        while left > 0 {
            let piece = UnsafeMutableRawBufferPointer(rebasing: space.data[..<min(left, 65536)])
            try socket.receiveRest(into: piece)
            left -= piece.count
        }
        try fail(request, objection)
    }

    private func flush(_ request: RequestHeader) throws(NBDError) {
        guard request.flags & ~Wire.CommandFlag.forceUnitAccess == 0, request.offset == 0, request.length == 0 else {
            return try fail(request, .invalid)
        }
        try answer(request, export.flush())
    }

    private func trim(_ request: RequestHeader) throws(NBDError) {
        if let objection = objection(to: request, flags: 0, changes: true, payload: false) { return try fail(request, objection) }
        if let failure = export.trim(at: request.offset, length: UInt64(request.length)) { return try fail(request, failure) }
        try answer(request, request.has(Wire.CommandFlag.forceUnitAccess) ? export.flush() : nil)
    }

    private func writeZeroes(_ request: RequestHeader) throws(NBDError) {
        let flags = Wire.CommandFlag.noHole | (hasFastZeroes ? Wire.CommandFlag.fastZero : 0)
        if let objection = objection(to: request, flags: flags, changes: true, payload: false, pastEnd: .noSpace) {
            return try fail(request, objection)
        }
        let failure = export.writeZeroes(
            at: request.offset, length: UInt64(request.length), mayTrim: !request.has(Wire.CommandFlag.noHole),
            forceUnitAccess: request.has(Wire.CommandFlag.forceUnitAccess))
        try answer(request, failure)
    }
}
