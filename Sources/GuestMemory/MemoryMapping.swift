import UnderstudyCore

/// One mapping of a process, from `/proc/PID/smaps`.
struct MemoryMapping: Equatable {
    var start: UInt64
    var end: UInt64
    /// Private memory without a file behind it: what is not there is zero.
    var isPrivateAnonymous: Bool
    /// Bytes of the pages behind it (2 MiB or 1 GiB on hugetlbfs).
    var pageSize: UInt64

    /// All mappings of a process, in order of address.
    static func all(of pid: Int32) throws(GuestMemoryError) -> [MemoryMapping] {
        parse(try ProcFile.read("/proc/\(pid)/smaps"))
    }

    static func parse(_ text: String) -> [MemoryMapping] {
        var mappings: [MemoryMapping] = []
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
            guard let head = fields.first else { continue }
            if head == "KernelPageSize:", fields.count > 1, let kibibytes = UInt64(fields[1]), !mappings.isEmpty {
                mappings[mappings.count - 1].pageSize = kibibytes * 1024
                continue
            }
            let ends = head.split(separator: "-")
            guard ends.count == 2, fields.count >= 5, let start = UInt64(ends[0], radix: 16), let end = UInt64(ends[1], radix: 16) else {
                continue
            }
            let isAnonymous = fields[1].hasSuffix("p") && fields[4] == "0"
            mappings.append(MemoryMapping(start: start, end: end, isPrivateAnonymous: isAnonymous, pageSize: UInt64(GuestPage.size)))
        }
        return mappings
    }

    /// The mappings that make up [start, end) without a gap, or nil.
    static func covering(start: UInt64, end: UInt64, in mappings: [MemoryMapping]) -> [MemoryMapping]? {
        let inside = mappings.filter { $0.end > start && $0.start < end }
        var reached = start
        for mapping in inside {
            guard mapping.start <= reached else { return nil }
            reached = mapping.end
        }
        return reached >= end ? inside : nil
    }
}
