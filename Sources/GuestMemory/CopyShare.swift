import Glibc
import LinuxShim
import UnderstudyCore

/// One thread's share of a copy: some consecutive pages of the runs, read straight into the arena.
///
/// The piece list is allocated once; nothing is allocated while copying.
final class CopyShare {
    /// What stopped a share.
    enum Failure {
        case none
        case unreadable(run: PageRun, page: UInt64, errno: Int32)
        case call(errno: Int32)
    }

    /// IOV_MAX: as many pieces as one call takes.
    private static let piecesPerCall = 1024
    /// Bytes per call, well under the kernel's limit of 2 GiB.
    private static let bytesPerCall = 1 << 30

    private let pieces: UnsafeMutablePointer<iovec>
    /// The share, set before the copy starts: `pages` pages from `skip` pages into run number `run`.
    var run = 0
    var skip = 0
    var pages = 0
    var destination = UnsafeMutableRawPointer(bitPattern: 1)!
    private(set) var failure = Failure.none

    init() { pieces = .allocate(capacity: CopyShare.piecesPerCall) }
    deinit { pieces.deallocate() }

    /// Copies the share. `addresses` are the host addresses of the blocks.
    func copy(pid: Int32, runs: UnsafeBufferPointer<PageRun>, addresses: UnsafePointer<UInt64>) {
        failure = .none
        while pages > 0 {
            let (count, bytes) = fillPieces(runs, addresses)
            // SAFETY: the arena holds all pages of all runs, and the shares do not overlap; `count` pieces were filled.
            let copied = understudy_process_vm_readv(pid, destination, UInt64(bytes), pieces, UInt64(count))
            let wholePages = max(copied, 0) / GuestPage.size
            if wholePages == 0 {
                if copied == Int(-EINTR) { continue }
                let first = runs[run]
                let number = copied < 0 ? Int32(-copied) : EFAULT
                failure =
                    number == EFAULT
                    ? .unreadable(run: first, page: UInt64(first.firstPage) + UInt64(skip), errno: number) : .call(errno: number)
                return
            }
            advance(by: wholePages, in: runs)
        }
    }

    /// Fills the piece list from the present position; returns the number of pieces and of bytes.
    private func fillPieces(_ runs: UnsafeBufferPointer<PageRun>, _ addresses: UnsafePointer<UInt64>) -> (Int, Int) {
        var count = 0
        var bytes = 0
        var index = run
        var offset = skip
        var left = pages
        while left > 0, count < CopyShare.piecesPerCall, bytes < CopyShare.bytesPerCall {
            let entry = runs[index]
            let take = min(Int(entry.count) - offset, left, (CopyShare.bytesPerCall - bytes) / GuestPage.size)
            let address = addresses[Int(entry.block)] + (UInt64(entry.firstPage) + UInt64(offset)) * UInt64(GuestPage.size)
            pieces[count] = iovec(iov_base: UnsafeMutableRawPointer(bitPattern: UInt(address)), iov_len: take * GuestPage.size)
            count += 1
            bytes += take * GuestPage.size
            left -= take
            index += 1
            offset = 0
        }
        return (count, bytes)
    }

    private func advance(by copied: Int, in runs: UnsafeBufferPointer<PageRun>) {
        destination += copied * GuestPage.size
        pages -= copied
        var rest = copied + skip
        while run < runs.count, rest >= Int(runs[run].count) {
            rest -= Int(runs[run].count)
            run += 1
        }
        skip = rest
    }
}
