/// The result of comparing the RAM blocks of two processes.
public struct MemoryComparison: Sendable, Equatable {
    /// The first page that differs.
    public struct Difference: Sendable, Equatable {
        public var block: String
        /// In units of `GuestPage.size` from the block's beginning.
        public var page: UInt64
        /// First differing byte from the block's beginning.
        public var offset: UInt64
    }

    public var comparedBytes: UInt64
    /// Number of pages with at least one different byte.
    public var differingPages: Int
    public var first: Difference?

    /// Whether every byte is the same.
    public var isEqual: Bool { differingPages == 0 }
}
