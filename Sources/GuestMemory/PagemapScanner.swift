import Glibc
import LinuxShim
import UnderstudyCore

/// `PAGEMAP_SCAN` on one process, with a region vector that is allocated once.
struct PagemapScanner: ~Copyable {
    private let descriptor: Int32
    private let regions: UnsafeMutablePointer<understudy_page_region>
    /// 24 bytes each; when they do not suffice the walk goes on where it stopped.
    private let capacity: Int
    private let entries: UnsafeMutablePointer<UInt64>
    private let entryCapacity = 1 << 13

    init(pid: Int32, capacity: Int = 1 << 15) throws(GuestMemoryError) {
        let path = "/proc/\(pid)/pagemap"
        descriptor = try ProcFile.open(path)
        self.capacity = capacity
        regions = .allocate(capacity: capacity)
        entries = .allocate(capacity: entryCapacity)
        entries.initialize(repeating: 0, count: entryCapacity)
        // Touched now, so that no scan pays for page faults.
        regions.initialize(repeating: understudy_page_region(), count: capacity)
    }

    deinit {
        regions.deallocate()
        entries.deallocate()
        close(descriptor)
    }

    /// Walks a range and appends what matches, cut to the block's used pages.
    func scan(_ range: TrackedRange, _ kind: understudy_pagemap_scan, into runs: PageRunList) throws(GuestMemoryError) {
        var from = range.start
        while from < range.registeredEnd {
            var walkEnd: UInt64 = 0
            // SAFETY: `regions` has `capacity` elements; the kernel writes at most that many and says how many.
            let count = understudy_pagemap_scan(descriptor, kind, from, range.registeredEnd, regions, UInt64(capacity), &walkEnd)
            guard count >= 0 else { throw scanError(Int32(-count)) }
            for index in 0..<count { try append(regions[index], of: range, to: runs) }
            guard walkEnd > from else {
                throw GuestMemoryError(code: .system, message: "PAGEMAP_SCAN made no progress at 0x\(String(from, radix: 16))")
            }
            from = walkEnd
        }
    }

    /// Throws `processGone` when the process has given up its memory, which happens before its end can be noticed: a walk over memory that is being
    /// torn down finds anything or nothing, and is no error to the kernel. Reading entries of the page map is (it holds the memory, or ends at once).
    func checkMemoryExists(at address: UInt64) throws(GuestMemoryError) {
        // SAFETY: one entry of 8 bytes; `entries` has more.
        let bytes = pread(descriptor, entries, 8, off_t(address / UInt64(GuestPage.size) * 8))
        guard bytes >= 0 else { throw .failed("reading the page map", errno) }
        guard bytes == 8 else { throw GuestMemoryError(code: .processGone, message: "the process has ended") }
    }

    /// Appends the pages of a range that exist, present or swapped out. Those that were never touched hold at most a marker of the write protection.
    func appendExisting(_ range: TrackedRange, into runs: PageRunList) throws(GuestMemoryError) {
        let page = UInt64(GuestPage.size)
        let end = range.end / page
        var next = range.start / page
        while next < end {
            let wanted = min(Int(end - next), entryCapacity)
            // SAFETY: `entries` has `entryCapacity` elements of 8 bytes.
            let bytes = pread(descriptor, entries, wanted * 8, off_t(next * 8))
            if bytes < 0, errno == EINTR { continue }
            guard bytes >= 0 else { throw .failed("reading the page map", errno) }
            guard bytes >= 8 else { throw GuestMemoryError(code: .processGone, message: "the process has ended") }
            for index in 0..<(bytes / 8) where PagemapScanner.exists(entries[index]) {
                let run = PageRun(block: range.block, firstPage: UInt32(next - range.start / page) + UInt32(index), count: 1)
                guard runs.append(run) else { throw PagemapScanner.listIsFull }
            }
            next += UInt64(bytes / 8)
        }
    }

    /// Whether an entry of the page map (admin-guide/mm/pagemap) stands for a page with contents. Bit 63: present, 62: swapped, 57: write-protected
    /// by userfaultfd; bits 0-4 of a swapped page: the swap type, whose last one the kernel uses for markers in empty entries (SWP_PTE_MARKER).
    /// When the kernel hides the type (no CAP_SYS_ADMIN) every marker counts as a page: more is sent, nothing is lost.
    static func exists(_ entry: UInt64) -> Bool {
        let isMarker = entry & (1 << 62) != 0 && entry & (1 << 57) != 0 && entry & 31 == 31
        return entry & (3 << 62) != 0 && !isMarker
    }

    private static var listIsFull: GuestMemoryError { GuestMemoryError(code: .invalidArgument, message: "the list of page runs is full") }

    private func append(_ region: understudy_page_region, of range: TrackedRange, to runs: PageRunList) throws(GuestMemoryError) {
        let end = min(region.end, range.end)
        guard region.start < end else { return }
        let page = UInt64(GuestPage.size)
        let run = PageRun(
            block: range.block, firstPage: UInt32((region.start - range.start) / page), count: UInt32((end - region.start) / page))
        guard runs.append(run) else { throw PagemapScanner.listIsFull }
    }

    private func scanError(_ number: Int32) -> GuestMemoryError {
        switch number {
        case ENOTTY: .failed("the kernel has no PAGEMAP_SCAN (Linux 6.7 or later is needed)", number, code: .kernelTooOld)
        case EPERM:
            .failed(
                "memory of a RAM block is no longer tracked: it was mapped anew since protection began; protect the VM again", number,
                code: .invalidBlock)
        default: .failed("PAGEMAP_SCAN", number)
        }
    }
}
