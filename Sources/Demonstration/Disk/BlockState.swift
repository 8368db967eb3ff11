/// What the guest's block writers say of themselves and their disk.
public struct BlockState: Sendable, Equatable {
    /// Blocks written since the guest started.
    public var written: UInt64
    /// Blocks that were not what the guest remembers, since it started.
    public var wrong: UInt64
    /// Blocks of the disk that were compared by the last check of the whole disk; 0 before the first one.
    public var checked: UInt64
    /// Those of them that were not what the guest remembers.
    public var wrongInCheck: UInt64
    /// The first of those; nil without one.
    public var firstWrong: UInt64?
}
