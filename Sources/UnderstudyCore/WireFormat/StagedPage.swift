// SPDX-License-Identifier: Apache-2.0

/// One page of a staged epoch, in place in the staging arena.
public struct StagedPage {
    /// Index of the RAM block in the list that both sides agreed on.
    public let block: UInt16
    /// Byte offset in the block, a multiple of 4,096.
    public let offset: UInt64
    /// The page's 4,096 bytes, of any alignment; nil for a zero page. Valid as long as the arena holds the epoch.
    public let content: UnsafeRawPointer?
}
