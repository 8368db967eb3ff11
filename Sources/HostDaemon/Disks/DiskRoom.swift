internal import Foundation
internal import Glibc
internal import HostAPI

/// What the copies of a machine's disks need of one file system. They are sparse, so what the disks take on the primary is needed at once,
/// and their whole size is what they may come to.
struct DiskRoom: Equatable {
    /// One copy that is to lie there.
    struct Copy: Equatable {
        var path: String
        var byteCount: UInt64
        /// Bytes that the disk takes on the primary, as far as that is known.
        var allocated: UInt64?
        /// Bytes that an earlier copy in its place takes already.
        var present: UInt64
    }

    let copies: [Copy]
    /// Bytes that are free.
    let available: UInt64

    /// No file system has more; whatever a peer names beyond cannot be had either.
    private static let most: UInt64 = 1 << 56

    /// Bytes that are wanted at once.
    var atOnce: UInt64 { Self.sum(copies) { min($0.allocated ?? 0, $0.byteCount) } }
    /// Bytes that are wanted once the guest has written all of its disks.
    var atWorst: UInt64 { Self.sum(copies) { $0.byteCount } }

    private static func sum(_ copies: [Copy], _ bytes: (Copy) -> UInt64) -> UInt64 {
        copies.reduce(0) { sum, copy in
            let whole = min(bytes(copy), most)
            return min(most, sum + whole - min(whole, copy.present))
        }
    }

    /// Failed when the disks as they are do not fit, a warning when they might not fit one day.
    var state: CheckReport.State { available < atOnce ? .failed : available < atWorst ? .warning : .ok }

    var sentence: String {
        "\(copies.map(\.path).joined(separator: ", ")): \(available >> 20) MiB are free in the file system there, the guest's disks take \(Self.mebibytes(atOnce)) MiB more now and \(Self.mebibytes(atWorst)) MiB once the guest has written all of them. Make room, or name another place by `--disk NAME=PATH`"
    }

    /// Rounded up: what is short by less than one must not look as if it fitted.
    private static func mebibytes(_ bytes: UInt64) -> UInt64 { (bytes + (1 << 20) - 1) >> 20 }

    /// Looks at the file systems in which these copies are to lie, each once; one that cannot be examined is left out.
    ///
    /// - Parameter disks: each copy's path, size and allocated bytes on the primary.
    static func examine(_ disks: [(path: String, byteCount: UInt64, allocated: UInt64?)]) -> [DiskRoom] {
        var order: [dev_t] = []
        var found: [dev_t: (copies: [Copy], available: UInt64)] = [:]
        for disk in disks {
            var file = stat()
            let isThere = stat(disk.path, &file) == 0
            var folder = disk.path
            while stat(folder, &file) != 0, folder.count > 1 { folder = (folder as NSString).deletingLastPathComponent }
            var numbers = statvfs()
            guard statvfs(folder, &numbers) == 0 else { continue }
            if found[file.st_dev] == nil { order.append(file.st_dev) }
            let copy = Copy(
                path: disk.path, byteCount: disk.byteCount, allocated: disk.allocated,
                present: isThere ? UInt64(max(0, file.st_blocks)) * 512 : 0)
            found[file.st_dev, default: ([], UInt64(numbers.f_bavail) * UInt64(numbers.f_frsize))].copies.append(copy)
        }
        return order.compactMap { device in found[device].map { DiskRoom(copies: $0.copies, available: $0.available) } }
    }
}
