internal import Glibc
public import NBD
internal import Synchronization

/// Buffers that are used again, by powers of two; nothing is allocated once they exist.
public final class BufferPool: Sendable {
    private struct Free: @unchecked Sendable {
        // SAFETY: a buffer is in one list or with one user, and the lists are behind the pool's lock.
        var lists: [[UnsafeMutableRawPointer]] = (0..<32).map { _ in
            var list: [UnsafeMutableRawPointer] = []
            list.reserveCapacity(256)
            return list
        }
    }

    private let free = Mutex(Free())

    public init() {}

    public func take(_ length: Int) -> NBDBuffer {
        let order = max(12, Int.bitWidth - (length - 1).leadingZeroBitCount)
        let memory = free.withLock { $0.lists[order].popLast() } ?? .allocate(byteCount: 1 << order, alignment: 4096)
        return NBDBuffer(bytes: .init(start: memory, count: length), tag: UInt64(order))
    }

    public func give(_ buffer: NBDBuffer) {
        // SAFETY: the server gives back what `take` made, which is never empty.
        let memory = buffer.bytes.baseAddress!
        free.withLock { $0.lists[Int(buffer.tag)].append(memory) }
    }

    deinit {
        free.withLock { free in
            for list in free.lists { for memory in list { memory.deallocate() } }
        }
    }
}
