/// What became of the pages of an epoch, or of many.
public struct PageCounts: Equatable, Sendable {
    /// Pages that were found dirty and equal what was sent last: not sent.
    public var unchanged: UInt64 = 0
    public var zero: UInt64 = 0
    public var delta: UInt64 = 0
    /// Pages that were sent whole.
    public var whole: UInt64 = 0
    /// Bytes of the deltas.
    public var deltaBytes: UInt64 = 0

    public init() {}

    public var pages: UInt64 { unchanged + zero + delta + whole }

    public static func += (sum: inout PageCounts, more: PageCounts) {
        sum.unchanged += more.unchanged
        sum.zero += more.zero
        sum.delta += more.delta
        sum.whole += more.whole
        sum.deltaBytes += more.deltaBytes
    }
}
