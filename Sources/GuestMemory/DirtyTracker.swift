import Glibc
import LinuxShim
public import UnderstudyCore

/// Finds the pages that a running, unmodified process (QEMU) wrote since the last look, without its help.
///
/// A userfaultfd inside the process, with `UFFD_FEATURE_WP_ASYNC`, write-protects the RAM blocks; the kernel resolves each first write by
/// itself, so nobody ever waits for the daemon. `PAGEMAP_SCAN` reads the set and re-arms it in one step (Linux 6.7, admin-guide/mm/pagemap).
///
/// **The first scan** covers the initial synchronisation: every page that *may* differ from zero. Of private anonymous memory these are the pages
/// present or swapped; of every other mapping (memfd, file, hugetlbfs) all pages, since a page not yet mapped may hold data of the file.
/// Pages not reported are zero; the standby's are too. **Every later scan** reports a superset of what was written since the scan before it
/// began; with the guest stopped, exactly the difference that a copy needs.
///
/// Pages are `GuestPage.size` bytes also where huge pages back the memory: one write then reports the whole huge page on hugetlbfs, and the
/// first write since arming splits a transparent one. Pages that a balloon or free-page reporting drops from *anonymous* memory are reported.
///
/// Not seen: writers in other address spaces (vhost-user, VFIO), and pages dropped or punched out of memory with a file behind it (memfd, file,
/// hugetlbfs; shared or private). The daemon refuses machines with those.
///
/// One tracker per process at a time: a second one would take the dirty set away from the first.
public final class DirtyTracker: @unchecked Sendable {
    /// The blocks, in the order of `PageRun.block`.
    public let blocks: [RAMBlock]

    // SAFETY: `@unchecked Sendable` since after `init` only the thread that scans (the session thread) touches what changes; `stop` is its too.
    private let process: ProcessHandle
    private let userfaultfd: Userfaultfd
    private let scanner: PagemapScanner
    private let injector: Injector
    private let ranges: [TrackedRange]
    private var isFirstScan = true
    private var isStopped = false

    /// Adopts the userfaultfd that an earlier tracker left in the process, or injects one by `helperPath` (`understudy-inject`), and registers
    /// every block. A failure leaves the process as it was, but for an idle descriptor.
    public init(pid: Int32, blocks: [RAMBlock], helperPath: String) throws(GuestMemoryError) {
        let process = try ProcessHandle(pid: pid)
        let injector = Injector(helperPath: helperPath)
        let ranges = try TrackedRange.ranges(of: blocks, in: MemoryMapping.all(of: pid))
        let scanner = try PagemapScanner(pid: pid)
        let found = try Userfaultfd.existing(in: pid)
        let number = if let found { found.number } else { try injector.openUserfaultfd(in: pid) }
        let userfaultfd = try Userfaultfd(in: process, remoteNumber: number)
        if found?.isEnabled != true { try userfaultfd.enable() }
        try process.checkAlive()
        try DirtyTracker.register(ranges, of: blocks, with: userfaultfd)
        self.blocks = blocks
        self.process = process
        self.userfaultfd = userfaultfd
        self.scanner = scanner
        self.injector = injector
        self.ranges = ranges
    }

    private static func register(_ ranges: [TrackedRange], of blocks: [RAMBlock], with userfaultfd: borrowing Userfaultfd)
        throws(GuestMemoryError)
    {
        for (index, range) in ranges.enumerated() {
            do throws(GuestMemoryError) {
                try userfaultfd.register(range, name: blocks[Int(range.block)].name)
            } catch {
                for earlier in ranges[..<index] { try userfaultfd.unregister(earlier) }
                throw error
            }
        }
    }

    /// Replaces the contents of `runs` by the pages written since the last scan, in order of block and page, and re-arms them. Returns the number of pages.
    ///
    /// `runs` must hold the worst case (`PageRunList(covering: blocks)`): this is checked before anything is re-armed.
    /// After an error the set is lost: the next scan is a first scan again.
    public func scan(into runs: PageRunList) throws(GuestMemoryError) -> Int {
        runs.removeAll()
        guard !isStopped else { throw GuestMemoryError(code: .invalidArgument, message: "this tracker was stopped") }
        guard runs.capacity >= PageRunList.worstCase(of: blocks) else {
            throw GuestMemoryError(code: .invalidArgument, message: "the list of page runs cannot hold the worst case of these RAM blocks")
        }
        let isFirst = isFirstScan
        isFirstScan = true
        for range in ranges {
            if isFirst {
                try scanFirst(range, into: runs)
            } else {
                try scanner.scan(range, UNDERSTUDY_SCAN_WRITTEN_AND_REARM, into: runs)
            }
        }
        // Memory that is there now was there during the whole scan.
        if let range = ranges.first { try scanner.checkMemoryExists(at: range.start) }
        try process.checkAlive()
        isFirstScan = false
        return runs.pageCount
    }

    /// Arms first and looks afterwards: a page written in between is in this scan and in the next one, and never in none.
    private func scanFirst(_ range: TrackedRange, into runs: PageRunList) throws(GuestMemoryError) {
        try scanner.scan(range, UNDERSTUDY_SCAN_REARM_ONLY, into: runs)
        if range.absentIsZero {
            try scanner.appendExisting(range, into: runs)
            return
        }
        let pages = (range.end - range.start) / UInt64(GuestPage.size)
        guard runs.append(PageRun(block: range.block, firstPage: 0, count: UInt32(pages))) else {
            throw GuestMemoryError(code: .invalidArgument, message: "the list of page runs is full")
        }
    }

    /// Makes the next scan a first scan (every page that may differ from zero).
    public func restart() { isFirstScan = true }

    /// Ends tracking: unregisters the blocks and closes the descriptor inside the process. Idempotent; a process that is gone is no error.
    ///
    /// When the descriptor cannot be closed the error says so and an idle descriptor remains, which the next tracker adopts.
    /// Without `stop` (a daemon that dies, `deinit`) the registration stays: writes go on at full speed and the next tracker adopts it.
    public func stop() throws(GuestMemoryError) {
        guard !isStopped else { return }
        isStopped = true
        for range in ranges { try userfaultfd.unregister(range) }
        do throws(GuestMemoryError) {
            guard try Userfaultfd.isOpen(userfaultfd.remoteNumber, in: process.pid) else { return }
            try injector.closeUserfaultfd(userfaultfd.remoteNumber, in: process.pid)
        } catch {
            do throws(GuestMemoryError) { try process.checkAlive() } catch { return }
            throw error
        }
    }
}
