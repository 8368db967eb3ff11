/// One entry of the journal in its native protocol (systemd's JOURNAL_NATIVE_PROTOCOL): `NAME=value` lines; a value with a line end goes
/// with its length.
public struct JournalEntry: Sendable {
    /// The bytes of the datagram.
    public private(set) var bytes: [UInt8] = []

    public init() {}

    /// Adds a field. The name's letters become capitals, anything but letters, digits and `_` becomes `_`.
    public mutating func add(_ name: String, _ value: String) {
        bytes += Self.fieldName(name)
        if value.utf8.contains(0x0a) {
            bytes.append(0x0a)
            let count = UInt64(value.utf8.count)
            for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: count >> UInt64(shift))) }
        } else {
            bytes.append(UInt8(ascii: "="))
        }
        bytes += value.utf8
        bytes.append(0x0a)
    }

    private static func fieldName(_ name: String) -> [UInt8] {
        let letters: [UInt8] = name.uppercased().utf8.prefix(64).map { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: UInt8(ascii: "_")
            }
        }
        return letters
    }
}
