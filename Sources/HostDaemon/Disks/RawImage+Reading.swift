internal import Glibc
internal import UnderstudyCore

/// What an image held before anything was written to it.
extension RawImage {
    /// Where the next byte lies that is not in a hole, from an offset inside the image on; nil when there is none.
    func nextData(from offset: UInt64) throws(HostDaemonError) -> UInt64? {
        let seekData: CInt = 3  // SEEK_DATA, which lies behind _GNU_SOURCE
        let next = lseek(descriptor, off_t(offset), seekData)
        if next >= 0 { return UInt64(next) }
        switch errno {
        case ENXIO: return nil
        // A file system that knows no holes.
        case EINVAL, EOPNOTSUPP: return offset
        default: throw Self.failure("searched for data", path)
        }
    }

    /// Fills a buffer from the image, inside which all of it must lie.
    func read(into bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(HostDaemonError) {
        var done = 0
        while done < bytes.count {
            let count = pread(descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw Self.failure("read", path) }
            done += count
        }
    }
}
