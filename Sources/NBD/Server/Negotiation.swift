/// The option haggling of one connection (doc/proto.md, "Option haggling"), without input or output: options go in, replies come out.
struct Negotiation {
    enum Outcome {
        case goOn
        /// The client has its export: requests follow.
        case transmission(any NBDExport)
        /// The client takes its leave.
        case ended
        /// There is no reply by which this could be refused.
        case hangUp(String)
    }

    /// Longest accepted data of an option; the largest sensible one names an export and some contexts.
    static let dataLimit: UInt32 = 65536

    private let exports: [any NBDExport]
    private let leavesOutZeroes: Bool
    private(set) var structuredReplies = false
    /// The export for which `base:allocation` was chosen.
    private var contextExport: (any NBDExport)?

    /// The identifier under which `base:allocation` is reported.
    static let allocationContext: UInt32 = 1

    /// nil when the client's handshake flags are not those of fixed newstyle.
    init?(exports: [any NBDExport], clientFlags: UInt32) {
        let known = UInt32(Wire.HandshakeFlag.fixedNewstyle | Wire.HandshakeFlag.noZeroes)
        guard clientFlags & ~known == 0, clientFlags & UInt32(Wire.HandshakeFlag.fixedNewstyle) != 0 else { return nil }
        self.exports = exports
        leavesOutZeroes = clientFlags & UInt32(Wire.HandshakeFlag.noZeroes) != 0
    }

    /// Whether `NBD_CMD_BLOCK_STATUS` may be asked of `export`.
    func hasAllocationContext(_ export: any NBDExport) -> Bool { contextExport === export }

    /// Appends what the client gets for an option.
    mutating func answer(_ number: UInt32, _ data: UnsafeRawBufferPointer, into replies: inout [UInt8]) -> Outcome {
        guard let option = Wire.Option(rawValue: number) else {
            Self.reply(number, .unsupported, text: "this server does not know that option", into: &replies)
            return .goOn
        }
        switch option {
        case .exportName: return exportName(data, into: &replies)
        case .abort:
            Self.reply(number, .acknowledgement, into: &replies)
            return .ended
        case .list: list(data, into: &replies)
        case .startTLS: Self.reply(number, .policy, text: "this server does not do TLS: its socket is local", into: &replies)
        case .info, .go: return inform(option, data, into: &replies)
        case .structuredReply: structuredReply(data, into: &replies)
        case .listMetaContext, .setMetaContext: metaContext(option, data, into: &replies)
        }
        return .goOn
    }

    /// An empty name stands for the only export.
    private func export(named name: String) -> (any NBDExport)? {
        if name.isEmpty && exports.count == 1 { return exports[0] }
        return exports.first { $0.name == name }
    }

    private func exportName(_ data: UnsafeRawBufferPointer, into replies: inout [UInt8]) -> Outcome {
        guard data.count <= 4096, let name = WireReader.text(data), let export = export(named: name) else {
            return .hangUp("the client asked for an export that is not here by NBD_OPT_EXPORT_NAME, which knows no refusal")
        }
        replies.append(bigEndian: export.byteCount)
        replies.append(bigEndian: flags(of: export))
        if !leavesOutZeroes { replies.append(contentsOf: repeatElement(0, count: 124)) }
        return .transmission(export)
    }

    private func list(_ data: UnsafeRawBufferPointer, into replies: inout [UInt8]) {
        let number = Wire.Option.list.rawValue
        guard data.isEmpty else { return Self.reply(number, .invalid, text: "NBD_OPT_LIST carries no data", into: &replies) }
        for export in exports {
            var entry: [UInt8] = []
            entry.append(counted: export.name)
            Self.reply(number, .server, entry, into: &replies)
        }
        Self.reply(number, .acknowledgement, into: &replies)
    }

    private mutating func structuredReply(_ data: UnsafeRawBufferPointer, into replies: inout [UInt8]) {
        let number = Wire.Option.structuredReply.rawValue
        guard data.isEmpty else { return Self.reply(number, .invalid, text: "NBD_OPT_STRUCTURED_REPLY carries no data", into: &replies) }
        structuredReplies = true
        Self.reply(number, .acknowledgement, into: &replies)
    }

    private func inform(_ option: Wire.Option, _ data: UnsafeRawBufferPointer, into replies: inout [UInt8]) -> Outcome {
        let number = option.rawValue
        var reader = WireReader(data)
        guard let name = reader.string(), let count: UInt16 = reader.next(), let requests = reader.take(2 * Int(count)), reader.isAtEnd
        else {
            Self.reply(number, .invalid, text: "the option's data is not a name and a list of information requests", into: &replies)
            return .goOn
        }
        guard let export = export(named: name) else {
            Self.reply(number, .unknown, text: "there is no such export", into: &replies)
            return .goOn
        }
        var about: [UInt8] = []
        about.append(bigEndian: Wire.Info.export.rawValue)
        about.append(bigEndian: export.byteCount)
        about.append(bigEndian: flags(of: export))
        Self.reply(number, .info, about, into: &replies)
        var sizes: [UInt8] = []
        sizes.append(bigEndian: Wire.Info.blockSize.rawValue)
        for size in [1, 4096, UInt32(NBDServer.maximumPayload)] { sizes.append(bigEndian: size) }
        Self.reply(number, .info, sizes, into: &replies)
        var wanted = WireReader(requests)
        while let information: UInt16 = wanted.next() {
            guard information == Wire.Info.name.rawValue else { continue }
            var canonical: [UInt8] = []
            canonical.append(bigEndian: information)
            canonical.append(contentsOf: export.name.utf8)
            Self.reply(number, .info, canonical, into: &replies)
            break
        }
        Self.reply(number, .acknowledgement, into: &replies)
        return option == .go ? .transmission(export) : .goOn
    }

    private func flags(of export: any NBDExport) -> UInt16 {
        typealias Flag = Wire.TransmissionFlag
        var flags = Flag.hasFlags | Flag.flush | Flag.forceUnitAccess | Flag.severalConnections
        if structuredReplies { flags |= Flag.dontFragment }
        if export.isReadOnly { return flags | Flag.readOnly }
        flags |= Flag.trim | Flag.writeZeroes
        return export.hasFastZeroes ? flags | Flag.fastZero : flags
    }

    static func reply(_ option: UInt32, _ type: Wire.OptionReply, _ data: [UInt8] = [], into replies: inout [UInt8]) {
        replies.append(bigEndian: Wire.optionReplyMagic)
        replies.append(bigEndian: option)
        replies.append(bigEndian: type.rawValue)
        replies.append(bigEndian: UInt32(data.count))
        replies.append(contentsOf: data)
    }

    static func reply(_ option: UInt32, _ type: Wire.OptionReply, text: String, into replies: inout [UInt8]) {
        reply(option, type, Array(text.utf8), into: &replies)
    }
}

extension Negotiation {
    /// NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
    fileprivate mutating func metaContext(_ option: Wire.Option, _ data: UnsafeRawBufferPointer, into replies: inout [UInt8]) {
        let number = option.rawValue
        let sets = option == .setMetaContext
        // Whatever was chosen before is gone, also when this request fails.
        if sets { contextExport = nil }
        guard structuredReplies else {
            return Self.reply(number, .invalid, text: "meta contexts need structured replies first", into: &replies)
        }
        var reader = WireReader(data)
        guard let name = reader.string(), let count: UInt32 = reader.next() else {
            return Self.reply(number, .invalid, text: "the option's data is not a name and a list of queries", into: &replies)
        }
        var isWanted = !sets && count == 0
        // Each query takes at least four bytes, so that the data's length bounds the loop.
        for _ in 0..<count {
            guard let query = reader.string() else {
                return Self.reply(number, .invalid, text: "a query is longer than the option's data or not text", into: &replies)
            }
            isWanted = isWanted || query == Wire.baseAllocation || (!sets && query == "base:")
        }
        guard reader.isAtEnd else {
            return Self.reply(number, .invalid, text: "bytes follow the last query", into: &replies)
        }
        guard let export = export(named: name) else {
            return Self.reply(number, .unknown, text: "there is no such export", into: &replies)
        }
        if isWanted {
            var context: [UInt8] = []
            context.append(bigEndian: sets ? Self.allocationContext : 0)
            context.append(contentsOf: Wire.baseAllocation.utf8)
            Self.reply(number, .metaContext, context, into: &replies)
            if sets { contextExport = export }
        }
        Self.reply(number, .acknowledgement, into: &replies)
    }
}
