// SPDX-License-Identifier: Apache-2.0

/// One page of a staged epoch, in place in the staging arena.
public struct StagedPage {
    /// What the epoch says of the page. The bytes are valid as long as the arena holds the epoch.
    public enum Content {
        case zero
        /// The page's 4,096 bytes, of any alignment.
        case whole(UnsafeRawPointer)
        /// What changed in it since it was sent last; see `PageDelta`. Valid in form.
        case delta(UnsafeRawBufferPointer)
    }

    /// Index of the RAM block in the list that both sides agreed on.
    public let block: UInt16
    /// Byte offset in the block, a multiple of 4,096.
    public let offset: UInt64
    public let content: Content
}
