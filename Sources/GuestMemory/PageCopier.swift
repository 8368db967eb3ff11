import Glibc
public import UnderstudyCore

/// Copies pages out of a process by `process_vm_readv`, on several threads of its own when there is enough to copy.
///
/// The threads are not bound to processors: while a checkpoint copies, the guest stands still and the scheduler finds the free ones.
public final class PageCopier: @unchecked Sendable {
    /// Pages below which one thread alone is faster.
    public static let parallelThreshold = 512

    // SAFETY: `@unchecked Sendable` since one thread (the session thread) calls `copy` and `stop`; the workers own only their shares while they copy.
    private let process: ProcessHandle
    private let blocks: [RAMBlock]
    private let addresses: UnsafeMutablePointer<UInt64>
    private let ownShare = CopyShare()
    private var workers: [CopyWorker] = []

    private let parallelThreshold: Int

    /// `threads`: how many copy, the caller's own included (1...64). The others are started here and wait.
    public convenience init(pid: Int32, blocks: [RAMBlock], threads: Int) throws(GuestMemoryError) {
        try self.init(pid: pid, blocks: blocks, threads: threads, parallelThreshold: PageCopier.parallelThreshold)
    }

    init(pid: Int32, blocks: [RAMBlock], threads: Int, parallelThreshold: Int) throws(GuestMemoryError) {
        guard (1...64).contains(threads) else {
            throw GuestMemoryError(code: .invalidArgument, message: "1 to 64 copy threads, not \(threads)")
        }
        process = try ProcessHandle(pid: pid)
        self.blocks = blocks
        self.parallelThreshold = parallelThreshold
        addresses = .allocate(capacity: max(blocks.count, 1))
        for (index, block) in blocks.enumerated() { (addresses + index).initialize(to: block.hostAddress) }
        for _ in 1..<threads {
            do throws(GuestMemoryError) {
                workers.append(try CopyWorker())
            } catch {
                stop()
                throw error
            }
        }
    }

    deinit {
        stop()
        addresses.deallocate()
    }

    /// Copies the pages of `runs`, in order and without gaps, to `arena` (at least pages x `GuestPage.size` bytes, best already touched).
    /// Call from one thread at a time.
    ///
    /// All or error: `unreadablePage` names block and page; `processGone` when the process ended. A page never touched reads as zero.
    public func copy(runs: UnsafeBufferPointer<PageRun>, into arena: UnsafeMutableRawPointer) throws(GuestMemoryError) {
        let pages = try checkedPageCount(runs)
        let helpers = pages < parallelThreshold ? 0 : workers.count
        let job = CopyJob(pid: process.pid, runs: runs, addresses: addresses)
        share(runs, pages: pages, among: helpers, arena: arena)
        for index in 0..<helpers { workers[index].begin(job) }
        ownShare.copy(pid: job.pid, runs: runs, addresses: addresses)
        for index in 0..<helpers { workers[index].wait() }
        try check(ownShare)
        for index in 0..<helpers { try check(workers[index].share) }
        // Alive now, so the number meant this process all the time.
        try process.checkAlive()
    }

    /// Ends the threads; later copies use the caller's thread alone. Idempotent; also done by `deinit`.
    public func stop() {
        for worker in workers { worker.end() }
        workers = []
    }

    private func checkedPageCount(_ runs: UnsafeBufferPointer<PageRun>) throws(GuestMemoryError) -> Int {
        var pages = 0
        for run in runs {
            guard Int(run.block) < blocks.count, UInt64(run.firstPage) + UInt64(run.count) <= blocks[Int(run.block)].pageCount else {
                throw GuestMemoryError(
                    code: .invalidArgument, message: "pages \(run.firstPage)+\(run.count) are not in RAM block number \(run.block)")
            }
            pages += Int(run.count)
        }
        return pages
    }

    /// Gives each thread the same number of pages, give or take one; the caller's thread gets the first part.
    private func share(_ runs: UnsafeBufferPointer<PageRun>, pages: Int, among helpers: Int, arena: UnsafeMutableRawPointer) {
        var run = 0
        var passed = 0  // pages in the runs before `run`
        for index in 0...helpers {
            let first = pages * index / (helpers + 1)
            let share = index == 0 ? ownShare : workers[index - 1].share
            while run < runs.count, passed + Int(runs[run].count) <= first {
                passed += Int(runs[run].count)
                run += 1
            }
            share.run = run
            share.skip = first - passed
            share.pages = pages * (index + 1) / (helpers + 1) - first
            share.destination = arena + first * GuestPage.size
        }
    }

    private func check(_ share: CopyShare) throws(GuestMemoryError) {
        switch share.failure {
        case .none: return
        case .unreadable(let run, let page, let number):
            // A process that is just ending has no readable pages either.
            try process.checkAlive()
            throw GuestMemoryError(
                code: .unreadablePage, message: "page \(page) of RAM block \"\(blocks[Int(run.block)].name)\" cannot be read", errno: number
            )
        case .call(let number): throw .failed("copying memory of process \(process.pid)", number)
        }
    }
}
