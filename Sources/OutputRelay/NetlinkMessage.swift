/// Builds one rtnetlink request (rtnetlink(7)): header, fixed part, nested attributes. Words in the machine's order.
struct NetlinkMessage {
    /// Message types.
    enum Kind: UInt16 {
        case newLink = 16
        case deleteLink = 17
        case getLink = 18
        case newQueueingDiscipline = 36
    }

    /// Request flags.
    enum Flag {
        static let request: UInt16 = 0x1
        static let acknowledge: UInt16 = 0x4
        static let replace: UInt16 = 0x100
        static let create: UInt16 = 0x400
        static let dump: UInt16 = 0x300
    }

    private(set) var bytes: [UInt8] = []

    init(_ kind: Kind, flags: UInt16, sequence: UInt32) {
        append(UInt32(0))
        append(kind.rawValue)
        append(flags)
        append(sequence)
        append(UInt32(0))
    }

    /// A request about the interface `index`: `struct ifinfomsg`; `up` nil leaves the administrative state alone.
    static func link(_ kind: Kind, flags: UInt16, sequence: UInt32, index: Int32, up: Bool? = nil) -> NetlinkMessage {
        var message = NetlinkMessage(kind, flags: flags, sequence: sequence)
        message.append(UInt32(0))
        message.append(index)
        message.append(UInt32(up == true ? 1 : 0))
        message.append(UInt32(up == nil ? 0 : 1))
        return message
    }

    mutating func append(_ value: some FixedWidthInteger) {
        for byte in 0..<(value.bitWidth / 8) { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * byte))) }
    }

    mutating func attribute(_ type: UInt16, _ value: some FixedWidthInteger) {
        nested(type) { $0.append(value) }
    }

    mutating func attribute(_ type: UInt16, _ value: [UInt8]) {
        nested(type) { $0.bytes += value }
    }

    mutating func attribute(_ type: UInt16, _ text: String) {
        attribute(type, Array(text.utf8) + [0])
    }

    mutating func nested(_ type: UInt16, _ fill: (inout NetlinkMessage) -> Void) {
        let start = bytes.count
        append(UInt16(0))
        append(type)
        fill(&self)
        setLength(bytes.count - start, at: start, width: 2)
        while bytes.count % 4 != 0 { bytes.append(0) }
    }

    /// The bytes to send.
    mutating func finished() -> [UInt8] {
        setLength(bytes.count, at: 0, width: 4)
        return bytes
    }

    private mutating func setLength(_ length: Int, at offset: Int, width: Int) {
        for byte in 0..<width { bytes[offset + byte] = UInt8(truncatingIfNeeded: length >> (8 * byte)) }
    }
}
