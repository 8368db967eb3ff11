/// Cuts a byte stream into lines. Every byte is looked at once.
struct LineBuffer {
    private var bytes: [UInt8] = []
    private var start = 0
    private var searched = 0
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        if start == bytes.count {
            bytes.removeAll(keepingCapacity: true)
            start = 0
            searched = 0
        }
        bytes.append(contentsOf: more)
    }

    /// Whether the unfinished line exceeds the limit.
    var isOverfull: Bool { bytes.count - start > limit }

    mutating func hasLine() -> Bool {
        while searched < bytes.count {
            if bytes[searched] == UInt8(ascii: "\n") { return true }
            searched += 1
        }
        return false
    }

    /// The next line without its end; nil when none is complete.
    mutating func next() -> ArraySlice<UInt8>? {
        guard hasLine() else { return nil }
        let line = bytes[start..<searched]
        searched += 1
        start = searched
        return line
    }
}
