internal import Glibc
internal import LinuxShim
internal import UnderstudyCore

/// A disk's raw image that the daemon writes: a replicated disk's on the backup host, or one that both hosts see. Written through the page cache;
/// `flush` makes it durable.
///
/// One thread at a time uses it; before the first write several may read.
final class RawImage: @unchecked Sendable {
    // SAFETY: the descriptor is constant, and the documented contract is one thread at a time; reading moves no state of it.
    let path: String
    let byteCount: UInt64
    let descriptor: CInt

    /// Zeroes are written in pieces of this size where the file system cannot punch holes.
    private static let zeroesLength = 1 << 20

    /// Opens or makes the image and gives it its size. What it held before is overwritten by the copy that follows.
    init(path: String, byteCount: UInt64) throws(HostDaemonError) {
        self.path = path
        self.byteCount = byteCount
        try PrivateFolder.make(above: path)
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.failure("opened", path) }
        guard ImageLock.take(descriptor) else {
            close(descriptor)
            throw HostDaemonError(.refused, "\(path) is the copy of another disk already: name another place by `--disk`")
        }
        guard let length = off_t(exactly: byteCount), ftruncate(descriptor, length) == 0 else {
            let error = Self.failure("given its size", path)
            close(descriptor)
            throw error
        }
    }

    /// Opens the image of a disk that both hosts see, as it is, for the only daemon that may write to it.
    ///
    /// - Parameter demandsLock: false when nobody else can reach the image any more, though a lock of his may still be remembered.
    init(shared path: String, byteCount: UInt64, demandsLock: Bool = true) throws(HostDaemonError) {
        self.path = path
        self.byteCount = byteCount
        descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.failure("opened", path) }
        guard ImageLock.take(descriptor) || !demandsLock else {
            close(descriptor)
            throw HostDaemonError(.busy, "another daemon writes to \(path)")
        }
        // What this host remembers of the image may be older than what the other one has written since.
        _ = fdatasync(descriptor)
        posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }

    deinit { close(descriptor) }

    func write(_ data: UnsafeRawBufferPointer, at offset: UInt64) throws(HostDaemonError) {
        var done = 0
        while done < data.count {
            let count = pwrite(descriptor, data.baseAddress! + done, data.count - done, off_t(offset) + off_t(done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw Self.failure("written", path) }
            done += count
        }
    }

    /// Makes a range read as zeroes and gives its space back where the file system can.
    func clear(at offset: UInt64, length: UInt64) throws(HostDaemonError) {
        if understudy_punch_hole(descriptor, offset, length) == 0 { return }
        // A block device clears whole blocks of its own only (EINVAL).
        guard [EOPNOTSUPP, ENOSYS, EINVAL].contains(errno) else { throw Self.failure("cleared", path) }
        let zeroes = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.zeroesLength, alignment: 4096)
        defer { zeroes.deallocate() }
        zeroes.initializeMemory(as: UInt8.self, repeating: 0)
        var rest = length
        while rest > 0 {
            let part = min(rest, UInt64(zeroes.count))
            try write(UnsafeRawBufferPointer(rebasing: zeroes[..<Int(part)]), at: offset + length - rest)
            rest -= part
        }
    }

    /// After so many bytes of writes `writeBack` keeps a later `flush` short.
    static let writeBackBytes = 8 << 20

    /// Begins to bring what was written to the disk, when what was begun before is there.
    func writeBack() throws(HostDaemonError) {
        guard understudy_write_back(descriptor) == 0 || [ENOSYS, ESPIPE, EINVAL].contains(errno) else {
            throw Self.failure("written", path)
        }
    }

    func flush() throws(HostDaemonError) {
        guard fdatasync(descriptor) == 0 else { throw Self.failure("flushed", path) }
    }

    static func failure(_ what: String, _ path: String) -> HostDaemonError {
        let remedy = errno == ENOSPC ? ": make room there, or name another place by `--disk`, then `protect` again" : ""
        return HostDaemonError(.system, "the disk's copy \(path) cannot be \(what): \(String(cString: strerror(errno)))\(remedy)")
    }
}
