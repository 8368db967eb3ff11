internal import Glibc
internal import LinuxShim
internal import UnderstudyCore

/// Tries what protection needs of the kernel, on memory that belongs to nobody's guest.
public enum TrackingTrial {
    /// Pages in a trial.
    private static let pages = 16
    private static let written = 5

    /// Arms pages of this very process, writes one of them and demands that the kernel names that one.
    ///
    /// - Throws: `.kernelTooOld`, `.notPermitted`, `.system`.
    public static func onOwnMemory() throws(GuestMemoryError) {
        let length = pages * GuestPage.size
        guard let memory = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), memory != MAP_FAILED else {
            throw .failed("reserving memory", errno)
        }
        defer { munmap(memory, length) }
        for page in 0..<pages { memory.storeBytes(of: 1, toByteOffset: page * GuestPage.size, as: UInt8.self) }
        let descriptor = understudy_userfaultfd_open()
        guard descriptor >= 0 else { throw .failed("userfaultfd", -descriptor, code: descriptor == -ENOSYS ? .kernelTooOld : nil) }
        defer { close(descriptor) }
        let enabled = understudy_userfaultfd_enable(descriptor)
        guard enabled >= 0 else {
            throw .failed("the kernel has no asynchronous write protection (Linux 6.7 or later is needed)", -enabled, code: .kernelTooOld)
        }
        let start = UInt64(UInt(bitPattern: memory))
        let registered = understudy_userfaultfd_register(descriptor, start, UInt64(length))
        guard registered >= 0 else { throw .failed("write protection by userfaultfd", -registered) }
        let scanner = try PagemapScanner(pid: getpid(), capacity: pages)
        let range = TrackedRange(
            block: 0, start: start, end: start + UInt64(length), registeredEnd: start + UInt64(length), absentIsZero: true)
        let runs = PageRunList(capacity: pages)
        try scanner.scan(range, UNDERSTUDY_SCAN_REARM_ONLY, into: runs)
        memory.storeBytes(of: 2, toByteOffset: written * GuestPage.size, as: UInt8.self)
        try scanner.scan(range, UNDERSTUDY_SCAN_WRITTEN_AND_REARM, into: runs)
        try demandOnePage(runs)
    }

    /// Tracks a helper process as a QEMU is tracked: ptrace, a system call inside it, a write found by the scan and copied.
    ///
    /// - Parameter helperPath: `understudy-inject`, which is also the process that is practised on.
    /// - Throws: `.notPermitted`, `.injectionFailed`, `.kernelTooOld` and what else `DirtyTracker` throws.
    public static func onHelper(helperPath: String) throws(GuestMemoryError) {
        let helper = try PracticeProcess(helperPath: helperPath)
        defer { helper.end() }
        let length = UInt64(pages * GuestPage.size)
        let blocks = [RAMBlock(name: "practice", usedLength: length, totalLength: length, hostAddress: helper.memory)]
        let tracker = try DirtyTracker(pid: helper.pid, blocks: blocks, helperPath: helperPath)
        let copier = try PageCopier(pid: helper.pid, blocks: blocks, threads: 1)
        defer { copier.stop() }
        let runs = PageRunList(covering: blocks)
        _ = try tracker.scan(into: runs)
        try helper.write(page: UInt8(written))
        _ = try tracker.scan(into: runs)
        try demandOnePage(runs)
        let copy = UnsafeMutableRawPointer.allocate(byteCount: GuestPage.size, alignment: GuestPage.size)
        defer { copy.deallocate() }
        try copier.copy(runs: runs.runs, into: copy)
        guard copy.load(as: UInt8.self) == 2 else {
            throw GuestMemoryError(code: .system, message: "another process's page was copied with the wrong contents")
        }
        try tracker.stop()
    }

    private static func demandOnePage(_ runs: PageRunList) throws(GuestMemoryError) {
        guard Array(runs.runs) == [PageRun(block: 0, firstPage: UInt32(written), count: 1)] else {
            throw GuestMemoryError(
                code: .system,
                message: "page \(written) was written and the kernel reports \(runs.pageCount) pages: its tracking is not to be trusted")
        }
    }
}
