/// A device state as what changed against the one before, in pieces of a page: `deviceDelta` of the checkpoint stream.
///
/// Each piece is a number of 16 bits and what it announces: 0 unchanged; 1 to `PageDelta.maximumLength` a delta of so many bytes; 65,535 the
/// piece whole (4,096 bytes, the last one of a state what is left). A piece beyond the earlier state's end counts as zeros before, and the
/// last piece is filled up with zeros.
enum DeviceStateDelta {
    static let whole: UInt16 = .max

    /// Bytes of memory that hold a state in whole pieces.
    static func room(for length: Int) -> Int { (length + GuestPage.size - 1) & ~(GuestPage.size - 1) }

    /// The next piece of a message: what it announces and its bytes; nil when the message is malformed.
    ///
    /// - Parameter length: bytes of the state that the piece stands for, 1 to 4,096.
    static func next(_ bytes: UnsafeRawBufferPointer, _ position: inout Int, length: Int) -> Piece? {
        guard position + 2 <= bytes.count else { return nil }
        let word = bytes.littleEndian(at: position, as: UInt16.self)
        let count = word == whole ? length : Int(word)
        guard word == whole || count <= PageDelta.maximumLength, position + 2 + count <= bytes.count else { return nil }
        let content = UnsafeRawBufferPointer(rebasing: bytes[position + 2..<position + 2 + count])
        position += 2 + count
        if word == 0 { return .unchanged }
        if word == whole { return .whole(content) }
        return PageDelta.isValid(content) ? .delta(content) : nil
    }

    enum Piece {
        case unchanged
        case delta(UnsafeRawBufferPointer)
        case whole(UnsafeRawBufferPointer)
    }
}
