/// Leads one connection from its first byte to its first request.
struct Handshake {
    struct Result {
        let export: any NBDExport
        let structuredReplies: Bool
        let hasAllocationContext: Bool
    }

    /// The most options that one connection may send.
    static let optionLimit = 1024
    /// Data that is too long for an option but still read away, so that the client hears about it.
    private static let drainLimit: UInt32 = 1 << 20

    private let socket: StreamSocket
    /// How long a client may stay silent before it has its export.
    private let patience: Duration

    init(_ socket: StreamSocket, patience: Duration) {
        self.socket = socket
        self.patience = patience
    }

    /// nil when the client took its leave.
    func run(exports: [any NBDExport]) throws(NBDError) -> Result? {
        try socket.setTimeout(patience)
        guard var negotiation = try greet(exports) else { return nil }
        let space = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(Negotiation.dataLimit), alignment: 16)
        defer { space.deallocate() }
        for _ in 0..<Self.optionLimit {
            guard let (option, length) = try optionHeader() else { return nil }
            var replies: [UInt8] = []
            guard length <= Negotiation.dataLimit else {
                try refuseOversized(option, length, space)
                continue
            }
            let data = UnsafeMutableRawBufferPointer(rebasing: space[..<Int(length)])
            try socket.receiveRest(into: data)
            let outcome = negotiation.answer(option, UnsafeRawBufferPointer(data), into: &replies)
            do throws(NBDError) { try socket.send(replies) } catch {
                // A client that leaves the haggling without waiting owes nothing, as after NBD_OPT_ABORT.
                guard error.code == .closed else { throw error }
                return nil
            }
            switch outcome {
            case .goOn: continue
            case .ended: return nil
            case .hangUp(let reason): throw NBDError(.protocolViolation, reason)
            case .transmission(let export):
                try socket.setTimeout(nil)
                return Result(
                    export: export, structuredReplies: negotiation.structuredReplies,
                    hasAllocationContext: negotiation.hasAllocationContext(export))
            }
        }
        throw NBDError(.protocolViolation, "the client sent \(Self.optionLimit) options and chose no export")
    }

    /// nil when the client left without a word.
    private func greet(_ exports: [any NBDExport]) throws(NBDError) -> Negotiation? {
        var greeting: [UInt8] = []
        greeting.append(bigEndian: Wire.serverMagic)
        greeting.append(bigEndian: Wire.optionMagic)
        greeting.append(bigEndian: Wire.HandshakeFlag.fixedNewstyle | Wire.HandshakeFlag.noZeroes)
        try socket.send(greeting)
        var flags: UInt32 = 0
        guard try receive(&flags) else { return nil }
        guard let negotiation = Negotiation(exports: exports, clientFlags: UInt32(bigEndian: flags)) else {
            throw NBDError(.protocolViolation, "the client does not speak fixed newstyle NBD")
        }
        return negotiation
    }

    /// nil when the client left between two options.
    private func optionHeader() throws(NBDError) -> (option: UInt32, length: UInt32)? {
        // Two halves, so that each is one number.
        var magic: UInt64 = 0
        var rest: UInt64 = 0
        guard try receive(&magic) else { return nil }
        guard UInt64(bigEndian: magic) == Wire.optionMagic else {
            throw NBDError(.protocolViolation, "an option of the client does not begin with IHAVEOPT")
        }
        guard try receive(&rest) else { throw NBDError(.truncated, "the client vanished in the middle of an option") }
        let both = UInt64(bigEndian: rest)
        return (UInt32(both >> 32), UInt32(truncatingIfNeeded: both))
    }

    private func receive(_ number: inout some BitwiseCopyable) throws(NBDError) -> Bool {
        // SAFETY: any bytes are a number.
        try withUnsafeMutableBytes(of: &number) { (bytes) throws(NBDError) in try socket.receive(into: bytes) }
    }

    private func refuseOversized(_ option: UInt32, _ length: UInt32, _ space: UnsafeMutableRawBufferPointer) throws(NBDError) {
        guard length <= Self.drainLimit, option != Wire.Option.exportName.rawValue else {
            throw NBDError(.protocolViolation, "the client announced an option of \(length) bytes")
        }
        var left = Int(length)
        while left > 0 {
            let piece = UnsafeMutableRawBufferPointer(rebasing: space[..<min(left, space.count)])
            try socket.receiveRest(into: piece)
            left -= piece.count
        }
        var replies: [UInt8] = []
        Negotiation.reply(option, .tooBig, text: "an option's data may have \(Negotiation.dataLimit) bytes", into: &replies)
        try socket.send(replies)
    }
}
