internal import Glibc

/// An empty qcow2 file, into which a guest's writes shall go.
///
/// QEMU's own `blockdev-create` does not do: while it works, `query-named-block-nodes` of any monitor ends QEMU (an assertion in
/// `qcow2_get_specific_info`, seen on 7.2).
///
/// Source: QEMU `docs/interop/qcow2.txt`, version 3 with extended L2 entries: subclusters of 4 KiB, so that a guest's write copies nothing around it
/// from the image below.
public enum EmptyOverlay {
    static let clusterBytes: UInt64 = 131_072
    /// What one L2 table of extended entries (16 bytes each) maps.
    private static let tableBytes = clusterBytes / 16 * clusterBytes

    /// Makes an empty file an overlay of a disk.
    ///
    /// - Parameters:
    ///   - descriptor: open for writing.
    ///   - byteCount: the disk's size.
    public static func make(in descriptor: CInt, byteCount: UInt64) throws(HypervisorError) {
        let entries = max(1, (byteCount + tableBytes - 1) / tableBytes)
        let tableClusters = (entries * 8 + clusterBytes - 1) / clusterBytes
        // Header, table of reference counts, one block of them, L1 table.
        let clusters = 3 + tableClusters
        guard ftruncate(descriptor, off_t(clusters * clusterBytes)) == 0 else { throw failure() }
        try write(header(byteCount: byteCount, entries: entries), to: descriptor, at: 0)
        try write(bytes(2 * clusterBytes), to: descriptor, at: clusterBytes)
        try write((0..<clusters).flatMap { _ in bytes(UInt16(1)) }, to: descriptor, at: 2 * clusterBytes)
    }

    private static func header(byteCount: UInt64, entries: UInt64) -> [UInt8] {
        let extendedEntries: UInt64 = 1 << 4
        let lazyReferenceCounts: UInt64 = 1
        var header = bytes(UInt32(0x5146_49fb)) + bytes(UInt32(3))
        header += bytes(UInt64(0)) + bytes(UInt32(0))  // No image below is named: QEMU is told.
        header += bytes(UInt32(clusterBytes.trailingZeroBitCount)) + bytes(byteCount)
        header += bytes(UInt32(0)) + bytes(UInt32(entries)) + bytes(3 * clusterBytes)
        header += bytes(clusterBytes) + bytes(UInt32(1))
        header += bytes(UInt32(0)) + bytes(UInt64(0))
        header += bytes(extendedEntries) + bytes(lazyReferenceCounts) + bytes(UInt64(0))
        // Reference counts of 2^4 bits; the header's length; the end of its extensions.
        return header + bytes(UInt32(4)) + bytes(UInt32(104)) + bytes(UInt64(0))
    }

    private static func bytes(_ number: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }

    private static func write(_ bytes: [UInt8], to descriptor: CInt, at offset: UInt64) throws(HypervisorError) {
        guard pwrite(descriptor, bytes, bytes.count, off_t(offset)) == bytes.count else { throw failure() }
    }

    private static func failure() -> HypervisorError {
        HypervisorError(.systemCall, "an overlay for the guest's writes cannot be written: \(String(cString: strerror(errno)))")
    }
}
