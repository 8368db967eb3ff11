internal import Glibc

/// Memory for one epoch's pages, reserved once; beyond what is kept ready, untouched parts cost address space only.
final class StagingArena: @unchecked Sendable {
    // SAFETY: the mapping lives as long as the object; who may touch its contents is settled by the epoch's stage (one owner at a time).
    let bytes: UnsafeMutableRawBufferPointer

    /// - Parameter ready: bytes at the beginning that are touched now, so that no stopped guest waits for the kernel to find and clear memory.
    init(byteCount: Int, ready: Int = 0) throws(HostDaemonError) {
        let mapping = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let mapping, mapping != MAP_FAILED else {
            throw HostDaemonError(.system, "cannot reserve \(byteCount >> 20) MiB for staging: \(String(cString: strerror(errno)))")
        }
        // Both are a matter of speed only, and a kernel that refuses them costs no more than that.
        _ = madvise(mapping, byteCount, MADV_HUGEPAGE)
        if ready > 0 { _ = madvise(mapping, min(ready, byteCount), MADV_POPULATE_WRITE) }
        bytes = UnsafeMutableRawBufferPointer(start: mapping, count: byteCount)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }
}
