import UnderstudyCore

/// Where a RAM block lies in the process, and what must be known about the memory to track it.
struct TrackedRange: Equatable {
    /// Index of the block.
    var block: UInt16
    /// Beginning of the block.
    var start: UInt64
    /// End of the block's used bytes.
    var end: UInt64
    /// `end` rounded up to the page size of the mapping: tracking works on whole huge pages.
    var registeredEnd: UInt64
    /// Pages that are not there are zero, so the first scan may leave them out.
    var absentIsZero: Bool

    /// Checks the blocks against the mappings of the process.
    static func ranges(of blocks: [RAMBlock], in mappings: [MemoryMapping]) throws(GuestMemoryError) -> [TrackedRange] {
        guard blocks.count <= Int(UInt16.max) else { throw GuestMemoryError(code: .invalidArgument, message: "more than 65535 RAM blocks") }
        var ranges: [TrackedRange] = []
        for (index, block) in blocks.enumerated() where block.usedLength > 0 {
            let (end, overflow) = block.hostAddress.addingReportingOverflow(block.usedLength)
            let page = UInt64(GuestPage.size)
            guard !overflow, block.hostAddress % page == 0, block.usedLength % page == 0, block.pageCount <= UInt64(UInt32.max) else {
                throw block.invalid("address and length must be multiples of 4 KiB and the length at most 16 TiB")
            }
            guard let parts = MemoryMapping.covering(start: block.hostAddress, end: end, in: mappings) else {
                throw block.invalid("it is not wholly mapped in the process")
            }
            let size = parts.reduce(page) { max($0, $1.pageSize) }
            guard block.hostAddress % size == 0 else { throw block.invalid("it does not begin at a page of its own size (\(size) bytes)") }
            let absentIsZero = parts.allSatisfy(\.isPrivateAnonymous)
            ranges.append(
                TrackedRange(
                    block: UInt16(index), start: block.hostAddress, end: end, registeredEnd: (end + size - 1) / size * size,
                    absentIsZero: absentIsZero))
        }
        return ranges
    }
}

extension RAMBlock {
    func invalid(_ why: String) -> GuestMemoryError {
        GuestMemoryError(
            code: .invalidBlock,
            message: "RAM block \"\(name)\" at 0x\(String(hostAddress, radix: 16)), \(usedLength) bytes: \(why)")
    }
}
