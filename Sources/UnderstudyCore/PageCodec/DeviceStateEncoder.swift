/// Makes the pieces of `DeviceStateDelta` and keeps the state that was sent last.
///
/// Allocates when a state is larger than every one before.
struct DeviceStateEncoder: ~Copyable {
    /// The state that was sent last, in whole pieces with zeros behind it, and zeros up to the end.
    private var sent = UnsafeMutableRawBufferPointer.allocate(byteCount: GuestPage.size, alignment: 64)
    private let last = UnsafeMutableRawBufferPointer.allocate(byteCount: GuestPage.size, alignment: 64)

    init() { sent.initializeMemory(as: UInt8.self, repeating: 0) }

    deinit {
        sent.deallocate()
        last.deallocate()
    }

    /// Makes room for a state; what lies behind its end is forgotten, as it is on the other side.
    mutating func begin(length: Int) {
        let room = DeviceStateDelta.room(for: length)
        if room > sent.count {
            let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: room * 2, alignment: 64)
            larger.initializeMemory(as: UInt8.self, repeating: 0)
            larger.copyMemory(from: UnsafeRawBufferPointer(sent))
            sent.deallocate()
            sent = larger
        }
        let rest = UnsafeMutableRawBufferPointer(rebasing: sent[room...])
        rest.initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// Writes the piece at `offset` of a state, unless the room is too small.
    ///
    /// - Returns: bytes written, nil when they do not fit; then nothing was done.
    mutating func encode(_ state: UnsafeRawBufferPointer, at offset: Int, into room: UnsafeMutableRawBufferPointer) -> Int? {
        let length = min(GuestPage.size, state.count - offset)
        guard room.count >= 2 + GuestPage.size else { return nil }
        let piece = wholePiece(state, offset, length)
        // SAFETY: `begin` made `sent` as long as the state in whole pieces.
        let reference = sent.baseAddress! + offset
        let body = UnsafeMutableRawBufferPointer(rebasing: room[2...])
        var (word, count) = (DeviceStateDelta.whole, length)
        switch PageDelta.encode(piece, against: reference, into: body) {
        case .unchanged: (word, count) = (0, 0)
        case .delta(let bytes): (word, count) = (UInt16(bytes), bytes)
        case .tooLong: body.copyMemory(from: UnsafeRawBufferPointer(start: piece, count: length))
        }
        room.storeBytes(of: word.littleEndian, as: UInt16.self)
        if word != 0 { reference.copyMemory(from: piece, byteCount: GuestPage.size) }
        return 2 + count
    }

    /// Keeps a state that was sent whole.
    mutating func keep(_ state: UnsafeRawBufferPointer) {
        begin(length: state.count)
        sent.copyMemory(from: state)
        let rest = UnsafeMutableRawBufferPointer(rebasing: sent[state.count...])
        rest.initializeMemory(as: UInt8.self, repeating: 0)
    }

    private func wholePiece(_ state: UnsafeRawBufferPointer, _ offset: Int, _ length: Int) -> UnsafeRawPointer {
        // SAFETY: a whole piece lies inside the state.
        if length == GuestPage.size { return state.baseAddress! + offset }
        last.copyMemory(from: UnsafeRawBufferPointer(rebasing: state[offset..<offset + length]))
        let rest = UnsafeMutableRawBufferPointer(rebasing: last[length...])
        rest.initializeMemory(as: UInt8.self, repeating: 0)
        return UnsafeRawPointer(last.baseAddress!)
    }
}
