internal import Glibc

/// Locks on bytes of an image, which belong to an open file and end with it.
///
/// QEMU locks an image that it uses on bytes from 100 on (`block/file-posix.c`); a daemon that fills a copy locks the byte before those.
enum ImageLock {
    private static let ownByte: off_t = 99
    /// The own byte and all of QEMU's.
    private static let everyByte: off_t = 201
    // Open file description locks lie behind _GNU_SOURCE.
    private static let getLock: CInt = 36  // F_OFD_GETLK
    private static let setLock: CInt = 37  // F_OFD_SETLK

    /// Marks the image as the copy of one disk, for as long as `descriptor` is open; false when somebody has done so already.
    static func take(_ descriptor: CInt) -> Bool {
        var lock = exclusive(1)
        return fcntl(descriptor, setLock, &lock) == 0
    }

    /// Whether a QEMU or a daemon uses the image; `descriptor` must be open for writing.
    static func isTaken(_ descriptor: CInt) -> Bool {
        var lock = exclusive(everyByte)
        return fcntl(descriptor, getLock, &lock) == 0 && lock.l_type != Int16(F_UNLCK)
    }

    private static func exclusive(_ length: off_t) -> flock {
        var lock = flock()
        lock.l_type = Int16(F_WRLCK)
        lock.l_whence = Int16(SEEK_SET)
        lock.l_start = ownByte
        lock.l_len = length
        return lock
    }
}
