/// One line of `/proc/PID/maps`.
struct MemoryMapping: Equatable {
    var start: UInt64
    var end: UInt64
    var isAccessible: Bool
    var isWritable: Bool
    var path: String

    var length: UInt64 { end - start }

    static func parse(_ text: String) throws(HypervisorError) -> [MemoryMapping] {
        var mappings: [MemoryMapping] = []
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            let range = fields.first?.split(separator: "-") ?? []
            guard fields.count >= 5, range.count == 2, let start = UInt64(range[0], radix: 16), let end = UInt64(range[1], radix: 16),
                start < end
            else { throw HypervisorError(.unknownAnswer, "a line of the memory map has an unknown form: \(line)") }
            mappings.append(
                MemoryMapping(
                    start: start, end: end, isAccessible: fields[1].hasPrefix("r"), isWritable: fields[1].dropFirst().hasPrefix("w"),
                    path: fields.count > 5 ? String(fields[5]) : ""))
        }
        return mappings
    }
}

/// The memory map of a QEMU process, ordered by address.
struct MemoryMap {
    var mappings: [MemoryMapping]

    /// Whether every byte of a range can be read.
    func covers(_ address: UInt64, _ length: UInt64) -> Bool {
        let (end, overflow) = address.addingReportingOverflow(length)
        guard !overflow, length > 0 else { return false }
        var position = address
        for mapping in mappings where mapping.start <= position && position < mapping.end && mapping.isAccessible {
            position = mapping.end
            if position >= end { return true }
        }
        return false
    }

    /// The places where QEMU can have put a RAM block of this length: writable, followed by a page or few without access.
    ///
    /// QEMU reserves an inaccessible range, maps the block into it at a boundary of 2 MiB and leaves a guard behind it
    /// (`util/mmap-alloc.c`). A block may consist of several adjacent mappings when parts of it were given other properties.
    func candidates(length: UInt64) -> [UInt64] {
        var exact: [UInt64] = []
        var embedded: [UInt64] = []
        for (index, guardPage) in mappings.enumerated() {
            guard !guardPage.isAccessible, guardPage.length <= Self.longestGuard, guardPage.start >= length else { continue }
            let start = guardPage.start - length
            guard start % Self.boundary == 0, let first = firstMapping(of: start, before: index) else { continue }
            if mappings[first].start == start { exact.append(start) } else { embedded.append(start) }
        }
        return exact.isEmpty ? embedded : exact
    }

    private static let boundary: UInt64 = 2 << 20
    private static let longestGuard: UInt64 = 64 << 10

    /// The mapping that holds `start`, when all from there up to `mappings[end]` is writable without a gap.
    private func firstMapping(of start: UInt64, before end: Int) -> Int? {
        var index = end
        while index > 0 {
            guard mappings[index - 1].end == mappings[index].start, mappings[index - 1].isWritable else { return nil }
            index -= 1
            if mappings[index].start <= start { return index }
        }
        return nil
    }
}
