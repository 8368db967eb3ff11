/// A list of page runs in memory that is allocated once.
///
/// The capacity is the worst case of the blocks (every other page), so a scan can never find it full; memory that is not
/// touched costs nothing but address space (6 bytes for each page of the guest).
public final class PageRunList: @unchecked Sendable {
    // SAFETY: `@unchecked Sendable` since a list has one owner at a time: the session thread fills it and hands it over with the epoch.
    private let storage: UnsafeMutableBufferPointer<PageRun>
    /// Number of runs in the list.
    public private(set) var count = 0
    /// Number of pages in all runs together.
    public private(set) var pageCount = 0

    public init(capacity: Int) {
        storage = .allocate(capacity: max(capacity, 1))
    }

    /// A list that can hold every possible scan of these blocks.
    public convenience init(covering blocks: [RAMBlock]) {
        self.init(capacity: PageRunList.worstCase(of: blocks))
    }

    deinit { storage.deallocate() }

    /// Most runs that these blocks can be cut into: every other page.
    public static func worstCase(of blocks: [RAMBlock]) -> Int {
        blocks.reduce(0) { $0 + Int(($1.pageCount + 1) / 2) }
    }

    /// Number of runs that the list can hold.
    public var capacity: Int { storage.count }

    /// The runs. Valid until the list is changed or freed.
    public var runs: UnsafeBufferPointer<PageRun> { UnsafeBufferPointer(rebasing: storage[0..<count]) }

    public func removeAll() {
        count = 0
        pageCount = 0
    }

    /// Adds a run; joins it to the last one when it follows on directly. Returns false when the list is full and the run was not added.
    @discardableResult
    public func append(_ run: PageRun) -> Bool {
        if count > 0 {
            let last = storage[count - 1]
            if last.block == run.block, UInt64(last.firstPage) + UInt64(last.count) == UInt64(run.firstPage) {
                storage[count - 1].count += run.count
                pageCount += Int(run.count)
                return true
            }
        }
        guard count < storage.count else { return false }
        // SAFETY: count < capacity was checked above; PageRun is trivial.
        storage.initializeElement(at: count, to: run)
        count += 1
        pageCount += Int(run.count)
        return true
    }
}
