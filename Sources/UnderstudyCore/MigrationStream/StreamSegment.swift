/// A run of bytes to write, as writev(2) takes it. Borrowed: valid until the writer that made it is reset or released.
public struct StreamSegment {
    public var base: UnsafeRawPointer
    public var count: Int

    public init(base: UnsafeRawPointer, count: Int) {
        self.base = base
        self.count = count
    }
}
