/// Writes of one kind, four of them under way at any moment.
public struct DiskLoad: Sendable, Equatable {
    /// Bytes per write; a multiple of 4096, at most 1 MiB.
    public var bytes: Int
    /// At random places instead of one after the other.
    public var isRandom: Bool
    /// `fdatasync` after every write.
    public var isSynchronous: Bool

    public init(bytes: Int, random: Bool, synchronous: Bool = false) {
        self.bytes = bytes
        isRandom = random
        isSynchronous = synchronous
    }
}
