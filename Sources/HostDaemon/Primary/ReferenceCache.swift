internal import Glibc
internal import UnderstudyCore

/// The pages as they were sent last, with their memory.
///
/// Owned by the thread that sends.
final class ReferenceCache {
    let pages: ReferencePages
    private let arena: StagingArena

    /// - Parameter mebibytes: room for copies; nil: as much as the guest has. Memory is taken when it is needed.
    init(blockLengths: [UInt64], mebibytes: Int?) throws(HostDaemonError) {
        let guest = blockLengths.reduce(0) { $0 + Int($1) }
        // A mapping is never empty.
        arena = try StagingArena(byteCount: max(GuestPage.size, min(guest, mebibytes.map { $0 << 20 } ?? guest)))
        let room = mebibytes == 0 ? UnsafeMutableRawBufferPointer(start: nil, count: 0) : arena.bytes
        pages = ReferencePages(blockLengths: blockLengths, storage: room)
    }

    /// Forgets all pages and gives their memory back.
    func clear() {
        pages.removeAll()
        // A kernel that refuses keeps the memory until protection ends; what is in it counts for nothing.
        _ = madvise(arena.bytes.baseAddress, arena.bytes.count, MADV_DONTNEED)
    }
}
