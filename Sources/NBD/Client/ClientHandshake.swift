/// The client's side of the option haggling: structured replies, meta contexts, NBD_OPT_GO.
struct ClientHandshake {
    struct Offer {
        var byteCount: UInt64 = 0
        var flags: UInt16 = 0
        var minimumBlockSize: UInt32 = 1
        var maximumBlockSize: UInt32 = 32 << 20
        var contexts: [String: UInt32] = [:]
    }

    /// Longest accepted reply, and the most replies to one option.
    private static let replyLimit: UInt32 = 65536
    private static let replyCountLimit = 1024

    private let socket: StreamSocket

    init(_ socket: StreamSocket) { self.socket = socket }

    func run(exportName: String, contexts: [String]) throws(NBDError) -> Offer {
        try greet()
        try option(.structuredReply, []) { (_, _) throws(NBDError) in }
        var offer = Offer()
        if !contexts.isEmpty { offer.contexts = try choose(contexts, of: exportName) }
        var request: [UInt8] = []
        request.append(counted: exportName)
        request.append(bigEndian: UInt16(1))
        request.append(bigEndian: Wire.Info.blockSize.rawValue)
        var isComplete = false
        try option(.go, request) { (type, data) throws(NBDError) in
            guard type == Wire.OptionReply.info.rawValue else { throw Self.violation("an unexpected reply to NBD_OPT_GO") }
            isComplete = try Self.note(data, in: &offer) || isComplete
        }
        guard isComplete else { throw Self.violation("no information about the export") }
        guard offer.flags & Wire.TransmissionFlag.hasFlags != 0, offer.byteCount <= UInt64(Int64.max) else {
            throw Self.violation("impossible flags or an impossible size")
        }
        return offer
    }

    private func greet() throws(NBDError) {
        let greeting = try receive(18)
        var flags: UInt16?
        greeting.withUnsafeBytes { bytes in
            var reader = WireReader(bytes)
            if reader.next(UInt64.self) == Wire.serverMagic, reader.next(UInt64.self) == Wire.optionMagic { flags = reader.next() }
        }
        guard let flags, flags & Wire.HandshakeFlag.fixedNewstyle != 0 else { throw Self.violation("no greeting of fixed newstyle NBD") }
        var answer: [UInt8] = []
        // The zeroes that this leaves out only follow NBD_OPT_EXPORT_NAME, which is never sent.
        answer.append(bigEndian: UInt32(flags & (Wire.HandshakeFlag.fixedNewstyle | Wire.HandshakeFlag.noZeroes)))
        try socket.send(answer)
    }

    private func choose(_ names: [String], of exportName: String) throws(NBDError) -> [String: UInt32] {
        var request: [UInt8] = []
        request.append(counted: exportName)
        request.append(bigEndian: UInt32(names.count))
        for name in names { request.append(counted: name) }
        var chosen: [String: UInt32] = [:]
        try option(.setMetaContext, request) { (type, data) throws(NBDError) in
            var reader = WireReader(data)
            guard type == Wire.OptionReply.metaContext.rawValue, let identifier: UInt32 = reader.next(),
                let rest = reader.take(data.count - 4),
                let name = WireReader.text(rest), names.contains(name), !chosen.values.contains(identifier)
            else { throw Self.violation("a meta context that was not asked for") }
            chosen[name] = identifier
        }
        for name in names where chosen[name] == nil {
            throw NBDError(.refused, "the server has no meta context \(name) for the export \"\(exportName)\"")
        }
        return chosen
    }

    /// Whether it was the mandatory piece of information.
    private static func note(_ data: UnsafeRawBufferPointer, in offer: inout Offer) throws(NBDError) -> Bool {
        var reader = WireReader(data)
        guard let kind: UInt16 = reader.next() else { throw violation("empty information about the export") }
        switch Wire.Info(rawValue: kind) {
        case .export:
            guard let byteCount: UInt64 = reader.next(), let flags: UInt16 = reader.next() else {
                throw violation("a torn NBD_INFO_EXPORT")
            }
            offer.byteCount = byteCount
            offer.flags = flags
            return true
        case .blockSize:
            guard let minimum: UInt32 = reader.next(), reader.next(UInt32.self) != nil, let maximum: UInt32 = reader.next(),
                (1...65536).contains(minimum), minimum.nonzeroBitCount == 1, maximum >= minimum
            else { throw violation("impossible block sizes") }
            offer.minimumBlockSize = minimum
            offer.maximumBlockSize = min(maximum, offer.maximumBlockSize)
        case .name, nil: break
        }
        return false
    }

    /// Sends an option and hands its replies to `body`, until the server acknowledges it.
    private func option(
        _ option: Wire.Option, _ data: [UInt8], _ body: (_ type: UInt32, UnsafeRawBufferPointer) throws(NBDError) -> Void
    ) throws(NBDError) {
        var request: [UInt8] = []
        request.append(bigEndian: Wire.optionMagic)
        request.append(bigEndian: option.rawValue)
        request.append(bigEndian: UInt32(data.count))
        try socket.send(request + data)
        for _ in 0..<Self.replyCountLimit {
            let (type, reply) = try self.reply(to: option)
            if type == Wire.OptionReply.acknowledgement.rawValue { return }
            if type & 0x8000_0000 != 0 {
                let reason = reply.isEmpty ? "error \(type & 0x7fff_ffff)" : String(decoding: reply.prefix(256), as: UTF8.self)
                throw NBDError(.refused, "the server refused NBD option \(option.rawValue) (\(option)): \(reason)")
            }
            try reply.span.bytes.withUnsafeBytes { (bytes) throws(NBDError) in try body(type, bytes) }
        }
        throw Self.violation("endless replies to one option")
    }

    private func reply(to option: Wire.Option) throws(NBDError) -> (type: UInt32, data: [UInt8]) {
        let header = try receive(20)
        let fields: (UInt32, UInt32)? = header.withUnsafeBytes { bytes in
            var reader = WireReader(bytes)
            guard reader.next(UInt64.self) == Wire.optionReplyMagic, reader.next(UInt32.self) == option.rawValue,
                let type: UInt32 = reader.next(),
                let length: UInt32 = reader.next()
            else { return nil }
            return (type, length)
        }
        guard let (type, length) = fields else { throw Self.violation("a reply to an option that was not sent") }
        guard length <= Self.replyLimit else { throw Self.violation("a reply of \(length) bytes to an option") }
        return (type, try receive(Int(length)))
    }

    private func receive(_ count: Int) throws(NBDError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        try span.withUnsafeMutableBytes { (all) throws(NBDError) in try socket.receiveRest(into: all) }
        return bytes
    }

    private static func violation(_ what: String) -> NBDError {
        NBDError(.protocolViolation, "the server sent \(what): it is no NBD server with structured replies, or a broken one")
    }
}
