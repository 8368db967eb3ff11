/// A place for the payload of one write. The export owns the memory; from `reserve` to `write` or `abandon` only the server touches it.
public struct NBDBuffer: @unchecked Sendable {
    // SAFETY: between `reserve` and `write` or `abandon` one thread of the server has it, afterwards the export: never two at once.
    /// Exactly as many bytes as were asked for.
    public let bytes: UnsafeMutableRawBufferPointer
    /// Whatever the export finds its place again with; the server does not look at it.
    public let tag: UInt64

    public init(bytes: UnsafeMutableRawBufferPointer, tag: UInt64 = 0) {
        self.bytes = bytes
        self.tag = tag
    }
}
