/// Reads the attributes of an rtnetlink answer. Lengths come from the kernel and are checked all the same.
struct NetlinkAttributes {
    private let bytes: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    /// The content of the first attribute of `type`.
    subscript(type: UInt16) -> ArraySlice<UInt8>? {
        var place = bytes.startIndex
        while place + 4 <= bytes.endIndex {
            let length = Int(Self.integer(bytes[place..<(place + 2)], as: UInt16.self))
            guard length >= 4, place + length <= bytes.endIndex else { return nil }
            // The two highest bits say "nested" and "network byte order".
            if Self.integer(bytes[(place + 2)..<(place + 4)], as: UInt16.self) & 0x3fff == type {
                return bytes[(place + 4)..<(place + length)]
            }
            place += (length + 3) & ~3
        }
        return nil
    }

    /// The attributes inside the attribute of `type`.
    func nested(_ type: UInt16) -> NetlinkAttributes? { self[type].map(NetlinkAttributes.init) }

    /// The integer in the attribute of `type`.
    func integer<Value: FixedWidthInteger>(_ type: UInt16, as _: Value.Type = Value.self) -> Value? {
        self[type].map { Self.integer($0, as: Value.self) }
    }

    /// The zero-terminated text in the attribute of `type`.
    func text(_ type: UInt16) -> String? {
        self[type].map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// The integer that begins `bytes`; missing bytes count as zero.
    static func integer<Value: FixedWidthInteger>(_ bytes: ArraySlice<UInt8>, as _: Value.Type = Value.self) -> Value {
        bytes.prefix(Value.bitWidth / 8).reversed().reduce(0) { ($0 << 8) | Value(truncatingIfNeeded: $1) }
    }
}
