internal import Glibc
public import NBD

/// An export in memory.
public final class MemoryExport: NBDExport, @unchecked Sendable {
    // SAFETY: the memory is fixed; a client that reads and writes the same bytes at once gets either, as from a disk.
    public let name: String
    public let isReadOnly: Bool
    public var byteCount: UInt64 { UInt64(memory.count) }
    private let memory: UnsafeMutableRawBufferPointer
    private let pool = BufferPool()

    public init(name: String, byteCount: Int, isReadOnly: Bool = false) {
        self.name = name
        self.isReadOnly = isReadOnly
        // Pages come with their first use.
        memory = .init(
            start: mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | CInt(MAP_ANONYMOUS) | CInt(MAP_NORESERVE), -1, 0),
            count: byteCount)
    }

    deinit { munmap(memory.baseAddress, memory.count) }

    public var hasFastZeroes: Bool { true }
    public func reserve(length: Int) -> NBDBuffer? { pool.take(length) }
    public func abandon(_ buffer: NBDBuffer) { pool.give(buffer) }

    public func write(_ buffer: NBDBuffer, at offset: UInt64, forceUnitAccess: Bool) -> NBDErrorCode? {
        (memory.baseAddress! + Int(offset)).copyMemory(from: buffer.bytes.baseAddress!, byteCount: buffer.bytes.count)
        pool.give(buffer)
        return nil
    }

    public func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) -> NBDErrorCode? {
        bytes.baseAddress!.copyMemory(from: memory.baseAddress! + Int(offset), byteCount: bytes.count)
        return nil
    }

    public func writeZeroes(at offset: UInt64, length: UInt64, mayTrim: Bool, forceUnitAccess: Bool) -> NBDErrorCode? {
        memset(memory.baseAddress! + Int(offset), 0, Int(length))
        return nil
    }

    public func trim(at offset: UInt64, length: UInt64) -> NBDErrorCode? {
        writeZeroes(at: offset, length: length, mayTrim: true, forceUnitAccess: false)
    }

    public func flush() -> NBDErrorCode? { nil }
    public func extents(at offset: UInt64, length: UInt64, into extents: inout [NBDExtent]) {}
}
