extension Transmission {
    /// Success or failure of a request that gives no data.
    func answer(_ request: RequestHeader, _ failure: NBDErrorCode?) throws(NBDError) {
        let reply = space.reply(headerSize: Wire.simpleReplySize, count: 0)
        simpleHeader(reply, request, failure)
        try socket.send(UnsafeRawBufferPointer(reply))
    }

    /// A read or a block status fails by a chunk once structured replies were negotiated, everything else by a simple reply.
    func fail(_ request: RequestHeader, _ failure: NBDErrorCode) throws(NBDError) {
        guard structuredReplies, request.type == Wire.Command.read.rawValue || request.type == Wire.Command.blockStatus.rawValue else {
            return try answer(request, failure)
        }
        let reply = space.reply(headerSize: Wire.chunkHeaderSize + 6, count: 0)
        chunkHeader(reply, .error, request, length: 6)
        reply.baseAddress!.store(bigEndian: failure.rawValue, at: Wire.chunkHeaderSize)
        reply.baseAddress!.store(bigEndian: UInt16(0), at: Wire.chunkHeaderSize + 4)
        try socket.send(UnsafeRawBufferPointer(reply))
    }

    func simpleHeader(_ reply: UnsafeMutableRawBufferPointer, _ request: RequestHeader, _ failure: NBDErrorCode?) {
        let start = reply.baseAddress!
        start.store(bigEndian: Wire.simpleReplyMagic, at: 0)
        start.store(bigEndian: failure?.rawValue ?? 0, at: 4)
        start.store(bigEndian: request.cookie, at: 8)
    }

    /// The header of a reply's only chunk.
    func chunkHeader(_ reply: UnsafeMutableRawBufferPointer, _ type: Wire.Chunk, _ request: RequestHeader, length: Int) {
        let start = reply.baseAddress!
        start.store(bigEndian: Wire.structuredReplyMagic, at: 0)
        start.store(bigEndian: Wire.Chunk.done, at: 4)
        start.store(bigEndian: type.rawValue, at: 6)
        start.store(bigEndian: request.cookie, at: 8)
        start.store(bigEndian: UInt32(length), at: 16)
    }

    mutating func blockStatus(_ request: RequestHeader) throws(NBDError) {
        guard hasAllocationContext else { return try fail(request, .invalid) }
        let flags = Wire.CommandFlag.oneExtent
        if let objection = objection(to: request, flags: flags, changes: false, payload: false) { return try fail(request, objection) }
        extents.removeAll(keepingCapacity: true)
        export.extents(at: request.offset, length: UInt64(request.length), into: &extents)
        let count = storeExtents(covering: request.length, limit: request.has(flags) ? 1 : Self.extentLimit)
        let reply = space.reply(headerSize: Wire.chunkHeaderSize + 4, count: 8 * count)
        chunkHeader(reply, .blockStatus, request, length: 4 + 8 * count)
        reply.baseAddress!.store(bigEndian: Negotiation.allocationContext, at: Wire.chunkHeaderSize)
        try socket.send(UnsafeRawBufferPointer(reply))
    }

    /// Writes descriptors where the reply's data is: neighbours of the same status become one, and nothing goes beyond the request.
    private func storeExtents(covering length: UInt32, limit: Int) -> Int {
        let data = space.data.baseAddress!
        var left = length
        var count = 0
        var run: (length: UInt32, flags: UInt32) = (0, 0)
        func store() {
            data.store(bigEndian: run.length, at: 8 * count)
            data.store(bigEndian: run.flags, at: 8 * count + 4)
            count += 1
        }
        for extent in extents where left > 0 && extent.length > 0 {
            let part = UInt32(min(UInt64(left), extent.length))
            if run.length > 0 && run.flags != extent.flags {
                store()
                run.length = 0
                if count == limit { return count }
            }
            run = (run.length + part, extent.flags)
            left -= part
        }
        if run.length == 0 { run = (length, 0) }
        store()
        return count
    }
}
