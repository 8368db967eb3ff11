/// A section header that could stand at some place of a device state.
struct SectionHeader {
    /// Number that the footer repeats; QEMU gives one to every device when it is registered.
    var id: UInt32
    var section: DeviceSection
    /// Where the payload begins.
    var payload: Int

    /// The header at `offset`; nil when the bytes there cannot be one.
    init?(in state: UnsafeRawBufferPointer, at offset: Int) {
        guard Self.isPlausible(in: state, at: offset) else { return nil }
        let name = offset + 6
        let instance = name + Int(state[offset + 5])
        id = state.bigEndian32(at: offset + 1)
        section = DeviceSection(
            name: String(decoding: state[name..<instance], as: Unicode.ASCII.self), instance: state.bigEndian32(at: instance),
            version: state.bigEndian32(at: instance + 4))
        payload = instance + 8
    }

    /// Whether a header fits at `offset`: SECTION_FULL, a non-empty id string of printable ASCII, room for the rest.
    static func isPlausible(in state: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        guard offset + 6 <= state.count, state[offset] == 0x04 else { return false }
        let length = Int(state[offset + 5])
        guard length > 0, offset + 14 + length <= state.count else { return false }
        return state[(offset + 6)..<(offset + 6 + length)].allSatisfy { (0x20...0x7e).contains($0) }
    }
}

extension UnsafeRawBufferPointer {
    /// Big-endian number at `offset`, which the caller has checked to lie 4 bytes inside.
    func bigEndian32(at offset: Int) -> UInt32 {
        // SAFETY: `loadUnaligned` checks the range against the buffer.
        UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
}
