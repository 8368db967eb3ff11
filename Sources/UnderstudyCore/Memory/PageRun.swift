/// Consecutive pages of one RAM block.
public struct PageRun: Sendable, Equatable {
    /// Index of the block in the array of blocks given to the tracker and to the copier.
    public var block: UInt16
    /// First page, in units of `GuestPage.size` from the block's beginning (32 bits: blocks up to 16 TiB).
    public var firstPage: UInt32
    /// Number of pages.
    public var count: UInt32

    public init(block: UInt16, firstPage: UInt32, count: UInt32) {
        self.block = block
        self.firstPage = firstPage
        self.count = count
    }
}
