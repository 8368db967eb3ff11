/// Reader of a device state as QMP `xen-save-devices-state` writes it.
///
/// Layout (QEMU `migration/savevm.c`, `qemu_save_device_state`): `QEVM`, be32 version 3; per device 0x04, be32 section id, u8 length
/// and id string, be32 instance, be32 version, payload, 0x7e, be32 section id; at the end 0x00.
public enum DeviceState {
    /// Bytes of the magic and the version.
    public static let headerSize = 8

    /// Lists the device sections of `state`.
    ///
    /// The stream states no payload length, so the sections are found by their footers: a footer counts when the byte after it begins
    /// a well-formed section header or is the last byte of the state. Every chain of sections from header to end is considered; bytes
    /// that allow two different lists are refused.
    ///
    /// - Parameter state: the whole state, as received; nothing in it is trusted.
    public static func summary(of state: UnsafeRawBufferPointer) throws(DeviceStateError) -> DeviceStateSummary {
        guard hasHeader(state) else {
            throw DeviceStateError(.notADeviceState, "these \(state.count) bytes do not begin with a QEMU device state of version 3")
        }
        guard state.count > headerSize, state[state.count - 1] == 0 else {
            throw DeviceStateError(.malformed, "the device state of \(state.count) bytes has no end mark; it was cut short")
        }
        if state.count == headerSize + 1 { return DeviceStateSummary(sections: []) }
        guard let first = SectionHeader(in: state, at: headerSize) else {
            throw DeviceStateError(.malformed, "no section header follows the device state's header")
        }
        let lastFooter = state.count - 1 - SectionBoundary.footerSize
        guard lastFooter >= first.payload, state[lastFooter] == SectionBoundary.footerMark else {
            throw DeviceStateError(
                .noSectionFooters,
                "the device state has no section footers: machine types of QEMU 2.3 and earlier cannot be protected, use a newer one")
        }
        let chains = SectionChains(in: state, first: first)
        return DeviceStateSummary(sections: try chains.onlyList())
    }

    /// Lists the device sections of `state`.
    public static func summary(of state: [UInt8]) throws(DeviceStateError) -> DeviceStateSummary {
        // SAFETY: the buffer is only read, and only inside the closure.
        let result = state.withUnsafeBytes { bytes in
            Result { () throws(DeviceStateError) in try summary(of: bytes) }
        }
        return try result.get()
    }

    /// Whether `state` begins with the magic and version 3.
    static func hasHeader(_ state: UnsafeRawBufferPointer) -> Bool {
        state.count >= headerSize && state[..<headerSize].elementsEqual([0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3])
    }
}
