/// Writer of the frame of QEMU's incoming migration stream, version 3; `MigrationPartWriter` writes the pages between.
///
/// Layout (QEMU `migration/savevm.c`, `migration/ram.c`): `QEVM`, be32 3; configuration section 0x07 with the machine type; section
/// `ram` version 4, started with the block list, continued by parts, ended; device sections; 0x00; an empty description 0x06.
public enum MigrationStream {
    /// Bytes of a guest page, the unit of the `ram` section.
    public static let pageSize = 4096
    /// Id of the `ram` section in this stream; any number does, since it is ended before a device section begins.
    static let ramSection: UInt32 = 1

    /// What a section begins with.
    enum SectionType: UInt8 {
        case start = 1
        case part = 2
        case end = 3
        case configuration = 7
    }

    /// Low bits of a record's address in the `ram` section (QEMU `RAM_SAVE_FLAG_*`).
    enum RecordFlag {
        static let zero: UInt64 = 0x02
        static let blockList: UInt64 = 0x04
        static let page: UInt64 = 0x08
        static let endOfSection: UInt64 = 0x10
        static let sameBlock: UInt64 = 0x20
        /// What changed in a page (`RAM_SAVE_FLAG_XBZRLE`). QEMU takes such records whether or not the capability `xbzrle` is set: it is a
        /// matter of the sender.
        static let delta: UInt64 = 0x40
    }

    /// Everything up to the end of the section that announces the RAM blocks.
    ///
    /// - Parameters:
    ///   - machineType: the primary's machine type without `-machine`, for instance `pc-q35-7.2`.
    ///   - blocks: every migratable RAM block; `usedLength` is announced.
    public static func opening(machineType: String, blocks: [RAMBlock]) throws(MigrationStreamError) -> [UInt8] {
        guard (1...255).contains(machineType.utf8.count) else {
            throw MigrationStreamError(.badMachineType, "\"\(machineType)\" cannot be the name of a machine type")
        }
        try check(blocks)
        var bytes: [UInt8] = [0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3, SectionType.configuration.rawValue]
        bytes.appendBigEndian(UInt32(machineType.utf8.count))
        bytes.append(contentsOf: machineType.utf8)
        bytes.append(SectionType.start.rawValue)
        bytes.appendBigEndian(ramSection)
        bytes.appendName("ram")
        bytes.appendBigEndian(UInt32(0))
        bytes.appendBigEndian(UInt32(4))
        let total = blocks.reduce(UInt64(0)) { $0 + $1.usedLength }
        bytes.appendBigEndian(total | RecordFlag.blockList)
        for block in blocks {
            bytes.appendName(block.name)
            bytes.appendBigEndian(block.usedLength)
        }
        bytes.append(contentsOf: sectionEnd)
        return bytes
    }

    /// Ends the `ram` section.
    public static func ramEnd() -> [UInt8] {
        var bytes = [SectionType.end.rawValue]
        bytes.appendBigEndian(ramSection)
        bytes.append(contentsOf: sectionEnd)
        return bytes
    }

    /// The part of a device state that follows the end of the `ram` section: everything after its header, the final 0x00 included.
    public static func deviceSections(of state: UnsafeRawBufferPointer) throws(MigrationStreamError) -> UnsafeRawBufferPointer {
        guard DeviceState.hasHeader(state), state.count > DeviceState.headerSize, state[state.count - 1] == 0 else {
            throw MigrationStreamError(.badDeviceState, "these \(state.count) bytes are no complete QEMU device state of version 3")
        }
        return UnsafeRawBufferPointer(rebasing: state[DeviceState.headerSize...])
    }

    /// What follows the device sections: an empty machine description.
    public static let trailer: [UInt8] = [0x06, 0, 0, 0, 2, 0x7b, 0x7d]

    /// End of the records of a `ram` section, and its footer.
    static let sectionEnd: [UInt8] = {
        var bytes: [UInt8] = []
        bytes.appendBigEndian(RecordFlag.endOfSection)
        bytes.append(SectionBoundary.footerMark)
        bytes.appendBigEndian(ramSection)
        return bytes
    }()

    static func check(_ blocks: [RAMBlock]) throws(MigrationStreamError) {
        var names: Set<String> = []
        var total: UInt64 = 0
        for block in blocks {
            guard (1...255).contains(block.name.utf8.count), names.insert(block.name).inserted else {
                throw MigrationStreamError(.badBlock, "RAM block name \"\(block.name)\" is empty, too long or used twice")
            }
            let (sum, overflow) = total.addingReportingOverflow(block.usedLength)
            guard block.usedLength > 0, block.usedLength.isMultiple(of: UInt64(pageSize)), !overflow else {
                throw MigrationStreamError(.badBlock, "RAM block \(block.name) has the impossible length \(block.usedLength)")
            }
            total = sum
        }
        guard !blocks.isEmpty else { throw MigrationStreamError(.badBlock, "a machine without RAM blocks cannot be protected") }
    }
}

extension [UInt8] {
    mutating func appendBigEndian(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    /// Length in one byte, then the bytes; the caller has checked that there are at most 255.
    mutating func appendName(_ name: String) {
        append(UInt8(name.utf8.count))
        append(contentsOf: name.utf8)
    }
}
