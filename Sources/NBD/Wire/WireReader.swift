/// Reads big-endian numbers from the front of bytes that somebody else made. nil: there is not that much left.
struct WireReader {
    private var rest: UnsafeRawBufferPointer.SubSequence

    init(_ bytes: UnsafeRawBufferPointer) { rest = bytes[...] }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func next<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
        guard let bytes = take(MemoryLayout<Number>.size) else { return nil }
        return Number(bigEndian: bytes.loadUnaligned(as: Number.self))
    }

    mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, count <= rest.count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return UnsafeRawBufferPointer(rebasing: rest.prefix(count))
    }

    /// A 32-bit length and that many bytes of UTF-8 without NUL, at most 4096 of them, as the protocol limits strings.
    mutating func string() -> String? {
        guard let length: UInt32 = next(), length <= 4096, let bytes = take(Int(length)) else { return nil }
        return Self.text(bytes)
    }

    static func text(_ bytes: UnsafeRawBufferPointer) -> String? {
        guard !bytes.contains(0) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}
