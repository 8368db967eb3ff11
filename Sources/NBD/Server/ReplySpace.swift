import Glibc

/// The memory of one connection: the header of the current request, and a reply with its header directly before its data, so that both
/// leave by one call. Address space for the largest reply; pages come with their first use.
struct ReplySpace: ~Copyable {
    private static let dataOffset = 4096
    private let base: UnsafeMutableRawPointer
    private let byteCount: Int

    init(payload: Int) throws(NBDError) {
        byteCount = Self.dataOffset + payload
        let mapped = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | CInt(MAP_ANONYMOUS) | CInt(MAP_NORESERVE), -1, 0)
        guard let mapped, mapped != UnsafeMutableRawPointer(bitPattern: -1) else {
            throw NBDError(.systemCall, "no address space for a connection: \(String(cString: strerror(errno)))")
        }
        base = mapped
    }

    deinit { munmap(base, byteCount) }

    // SAFETY: all of these lie inside the mapping: a request's header at its beginning, replies around `dataOffset`.
    var request: UnsafeMutableRawBufferPointer { .init(start: base, count: Wire.requestSize) }
    var data: UnsafeMutableRawBufferPointer { .init(start: base + Self.dataOffset, count: byteCount - Self.dataOffset) }

    /// The `headerSize` bytes before the data and `count` bytes of it.
    func reply(headerSize: Int, count: Int) -> UnsafeMutableRawBufferPointer {
        .init(start: base + Self.dataOffset - headerSize, count: headerSize + count)
    }

    /// Gives the memory of a large reply back, so that an idle connection holds little.
    func release(beyondReply count: Int) {
        guard count > Self.kept else { return }
        madvise(base + Self.dataOffset + Self.kept, count - Self.kept, MADV_DONTNEED)
    }

    private static let kept = 4 << 20
}
