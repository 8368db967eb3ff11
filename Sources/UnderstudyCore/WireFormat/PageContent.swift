// SPDX-License-Identifier: Apache-2.0

/// Questions about the content of one page.
public enum PageContent {
    /// Whether the 4,096 bytes at an address are all zero.
    ///
    /// - Parameter page: start of a readable page; any alignment.
    public static func isZero(_ page: UnsafeRawPointer) -> Bool {
        // SAFETY: the caller vouches for 4,096 readable bytes; loads are unaligned and stay below that.
        for offset in stride(from: 0, to: WireFormat.pageSize, by: 256) {
            var sum = SIMD64<UInt8>.zero
            for lane in stride(from: offset, to: offset + 256, by: 64) {
                sum |= page.loadUnaligned(fromByteOffset: lane, as: SIMD64<UInt8>.self)
            }
            if sum != .zero { return false }
        }
        return true
    }
}
