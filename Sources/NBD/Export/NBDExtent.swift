/// A piece of an export with one status.
public struct NBDExtent: Sendable, Equatable {
    /// In bytes.
    public var length: UInt64
    /// The status as it is sent: its meaning depends on the meta context.
    public var flags: UInt32

    public init(length: UInt64, flags: UInt32) {
        self.length = length
        self.flags = flags
    }

    /// An extent of the context `base:allocation`.
    public init(length: UInt64, isHole: Bool, readsAsZero: Bool) {
        self.init(length: length, flags: (isHole ? 1 : 0) | (readsAsZero ? 2 : 0))
    }

    /// In `base:allocation`: nothing is allocated there.
    public var isHole: Bool { flags & 1 != 0 }
    /// In `base:allocation`: a read gives zeroes.
    public var readsAsZero: Bool { flags & 2 != 0 }
    /// In `qemu:dirty-bitmap:NAME`: the bitmap has a bit set there.
    public var isDirty: Bool { flags & 1 != 0 }
}
