internal import Glibc
public import NBD

/// An export in a sparse file.
public final class FileExport: NBDExport {
    public let name: String
    public let byteCount: UInt64
    public let isReadOnly: Bool
    private let descriptor: CInt
    private let pool = BufferPool()

    /// - Parameter byteCount: the file is made with it, or cut or extended to it; nil: as long as it is.
    public init(name: String, path: String, byteCount: UInt64? = nil, isReadOnly: Bool = false) throws(NBDErrorCode) {
        self.name = name
        self.isReadOnly = isReadOnly
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw NBDErrorCode(errno: errno) }
        self.descriptor = descriptor
        if let byteCount {
            guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw NBDErrorCode(errno: errno) }
        }
        self.byteCount = byteCount ?? UInt64(max(0, lseek(descriptor, 0, SEEK_END)))
    }

    deinit { close(descriptor) }

    public func reserve(length: Int) -> NBDBuffer? { pool.take(length) }
    public func abandon(_ buffer: NBDBuffer) { pool.give(buffer) }

    public func write(_ buffer: NBDBuffer, at offset: UInt64, forceUnitAccess: Bool) -> NBDErrorCode? {
        defer { pool.give(buffer) }
        var done = 0
        while done < buffer.bytes.count {
            let count = pwrite(descriptor, buffer.bytes.baseAddress! + done, buffer.bytes.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return NBDErrorCode(errno: errno) }
            done += count
        }
        return forceUnitAccess ? flush() : nil
    }

    public func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) -> NBDErrorCode? {
        var done = 0
        while done < bytes.count {
            let count = pread(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return count == 0 ? .inputOutput : NBDErrorCode(errno: errno) }
            done += count
        }
        return nil
    }

    public func writeZeroes(at offset: UInt64, length: UInt64, mayTrim: Bool, forceUnitAccess: Bool) -> NBDErrorCode? {
        // FALLOC_FL_PUNCH_HOLE or FALLOC_FL_ZERO_RANGE, each with FALLOC_FL_KEEP_SIZE.
        allocate(mayTrim ? 0x03 : 0x11, offset, length) ?? (forceUnitAccess ? flush() : nil)
    }

    public func trim(at offset: UInt64, length: UInt64) -> NBDErrorCode? { allocate(0x03, offset, length) }

    public func flush() -> NBDErrorCode? { fdatasync(descriptor) == 0 ? nil : NBDErrorCode(errno: errno) }

    public func extents(at offset: UInt64, length: UInt64, into extents: inout [NBDExtent]) {
        let end = offset + length
        var place = offset
        while place < end {
            // SEEK_DATA and SEEK_HOLE need _GNU_SOURCE.
            let data = lseek(descriptor, off_t(place), 3)
            let begin = data < 0 ? end : min(end, UInt64(data))
            if begin > place { extents.append(NBDExtent(length: begin - place, isHole: true, readsAsZero: true)) }
            guard begin < end else { return }
            let hole = lseek(descriptor, off_t(begin), 4)
            place = hole < 0 ? end : min(end, UInt64(hole))
            extents.append(NBDExtent(length: place - begin, isHole: false, readsAsZero: false))
        }
    }

    private func allocate(_ mode: CInt, _ offset: UInt64, _ length: UInt64) -> NBDErrorCode? {
        typealias Allocate = @convention(c) (CInt, CInt, off_t, off_t) -> CInt
        // SAFETY: a function of glibc with exactly this type; it needs _GNU_SOURCE, which Swift's module does not define.
        let fallocate = unsafeBitCast(dlsym(nil, "fallocate"), to: Allocate.self)
        return fallocate(descriptor, mode, off_t(offset), off_t(length)) == 0 ? nil : NBDErrorCode(errno: errno)
    }
}
