// SPDX-License-Identifier: Apache-2.0

/// How a disk is divided into the blocks by which two copies of it are compared. The last block ends with the disk.
public struct BlockGrid: Sendable, Equatable {
    /// Bytes of the disk.
    public let byteCount: UInt64
    /// Bytes of every block but the last: a power of two.
    public let blockBytes: UInt64
    /// Number of blocks.
    public let count: Int

    /// Blocks have 64 KiB; those of a large disk as much more as it takes to have no more than 4,194,304 of them (256 GiB at 64 KiB), so
    /// that a table of digests has 64 MiB at most.
    public init(byteCount: UInt64) {
        self.byteCount = byteCount
        var blockBytes: UInt64 = 64 << 10
        while byteCount / blockBytes >= Self.largestCount { blockBytes *= 2 }
        self.blockBytes = blockBytes
        count = Int((byteCount / blockBytes) + (byteCount % blockBytes > 0 ? 1 : 0))
    }

    private static let largestCount: UInt64 = 4 << 20

    /// The bytes of a block.
    public func range(of block: Int) -> Range<UInt64> {
        let start = UInt64(block) * blockBytes
        return start..<start + min(blockBytes, byteCount - start)
    }

    /// The blocks that have a byte in a range of the disk, which must not be empty.
    func blocks(touching range: Range<UInt64>) -> ClosedRange<Int> {
        Int(range.lowerBound / blockBytes)...Int((range.upperBound - 1) / blockBytes)
    }
}
