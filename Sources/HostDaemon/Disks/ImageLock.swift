internal import Glibc
internal import LinuxShim

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

    /// Locks the image as a QEMU does whose guest writes to it, or lets go of these locks, so that no other QEMU and no `qemu-img` takes it for
    /// free (`raw_apply_lock_bytes` in `block/file-posix.c`: byte 100 + N for a permission in use, 200 + N for one that is not shared).
    ///
    /// Not where another host would remember the locks of a dead one and so could not take over: network and cluster file systems.
    static func setAsQEMU(_ isLocked: Bool, _ descriptor: CInt) {
        guard isOfThisKernel(descriptor) else { return }
        for byte in [consistentRead, write, 100 + write, 100 + resize] {
            var lock = exclusive(1)
            lock.l_type = Int16(isLocked ? F_RDLCK : F_UNLCK)
            lock.l_start = 100 + byte
            // What holds it against us holds it against everybody else too.
            _ = fcntl(descriptor, setLock, &lock)
        }
    }

    // Numbers of QEMU's permissions (`BLK_PERM_*`).
    private static let (consistentRead, write, resize): (off_t, off_t, off_t) = (0, 1, 3)

    private static func isOfThisKernel(_ descriptor: CInt) -> Bool {
        var file = stat()
        guard fstat(descriptor, &file) == 0 else { return false }
        if file.st_mode & S_IFMT == S_IFBLK { return true }
        let kind = understudy_file_system_kind(descriptor)
        return kind > 0 && !sharedSystems.contains(kind)
    }

    /// linux/magic.h: NFS, SMB of three generations, Ceph, FUSE, 9P, GFS2, OCFS2, AFS, Lustre.
    private static let sharedSystems: Set<UInt32> = [
        0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x6573_5546, 0x0102_1997, 0x0116_1970, 0x7461_636f, 0x5346_414f, 0x0bd0_0bd0,
    ]

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
