// SPDX-License-Identifier: Apache-2.0

/// What the backup's image of one disk holds, block by block, while the disk is being copied: says which parts of a write must be sent.
///
/// An entry is true as long as nothing was sent for its block since the backup looked at it, for only what is sent changes the image. A write
/// of a whole block that is there already is therefore left out, and everything that is sent makes the entries that it touches void for good.
/// QEMU's mirror clears the whole disk before it copies what is there; such zeroes over a known block wait until the copy has come by, and
/// only those that nothing has taken the place of are sent at the end.
///
/// The invariant: the image with what was sent and with the waiting zeroes equals the disk as far as it has been written to this table.
public struct BlockTable: Sendable {
    /// One block of the image.
    private enum Entry: UInt8 {
        /// Unknown, or changed by what was sent.
        case void
        /// Its digest is known.
        case known
        case zeroes
        /// Its digest is known, and it must be cleared unless the same content is written again.
        case toClear
    }

    /// A part of a write that the image needs.
    public enum Change: Sendable, Equatable {
        /// These bytes of the write.
        case data(Range<Int>)
        /// A range of the disk becomes zeroes, before what follows.
        case zeroes(offset: UInt64, length: UInt64)
    }

    public let grid: BlockGrid
    private var entries: [Entry]
    /// Digests of so many blocks each, made when one of them is known.
    private var segments: [[BlockDigest]]
    private static let segmentLength = 1024

    /// Blocks of which the backup said what they hold.
    public private(set) var reportedBlocks = 0
    /// Blocks that were sent, wholly or in part.
    public private(set) var differingBlocks = 0
    /// Bytes of data that were written here and need not be sent.
    public private(set) var skippedBytes: UInt64 = 0

    public init(grid: BlockGrid) {
        self.grid = grid
        entries = Array(repeating: .void, count: grid.count)
        segments = Array(repeating: [], count: (grid.count + Self.segmentLength - 1) / Self.segmentLength)
    }

    /// The backup says what a block holds.
    public mutating func learn(_ digest: BlockDigest, of block: Int) {
        let segment = block / Self.segmentLength
        if segments[segment].isEmpty {
            segments[segment] = Array(repeating: BlockDigest(low: 0, high: 0), count: Self.segmentLength)
        }
        segments[segment][block % Self.segmentLength] = digest
        entries[block] = .known
        reportedBlocks += 1
    }

    /// The backup says that blocks hold zeroes.
    public mutating func learnZeroes(in blocks: Range<Int>) {
        for block in blocks { entries[block] = .zeroes }
        reportedBlocks += blocks.count
    }

    /// Takes a write of data.
    ///
    /// - Parameters:
    ///   - offset: its place on the disk, inside the grid with all of `data`.
    ///   - digest: of a whole block; nil when it cannot be made, and the block is then sent.
    ///   - send: gets what must be sent, in this order.
    public mutating func write(
        _ data: UnsafeRawBufferPointer, at offset: UInt64, digest: (Int, UnsafeRawBufferPointer) -> BlockDigest?, send: (Change) -> Void
    ) {
        guard !data.isEmpty else { return }
        let range = offset..<offset + UInt64(data.count)
        var run: Range<Int>?
        for block in grid.blocks(touching: range) {
            let part = grid.range(of: block).clamped(to: range)
            let place = Int(part.lowerBound - offset)..<Int(part.upperBound - offset)
            let bytes = UnsafeRawBufferPointer(rebasing: data[place])
            if holds(bytes, block, isWhole: part == grid.range(of: block), digest) {
                skippedBytes += UInt64(bytes.count)
                if let ended = run { send(.data(ended)) }
                run = nil
            } else {
                change(block, isWhole: part == grid.range(of: block), send: send)
                run = (run?.lowerBound ?? place.lowerBound)..<place.upperBound
            }
        }
        if let run { send(.data(run)) }
    }

    /// Whether the image holds these bytes of the block already. A block that waits to be cleared need not be when it does.
    private mutating func holds(
        _ bytes: UnsafeRawBufferPointer, _ block: Int, isWhole: Bool, _ digest: (Int, UnsafeRawBufferPointer) -> BlockDigest?
    ) -> Bool {
        switch entries[block] {
        case .void: return false
        case .zeroes: return isZero(bytes)
        case .known, .toClear:
            guard isWhole, digest(block, bytes) == segments[block / Self.segmentLength][block % Self.segmentLength] else {
                return entries[block] == .toClear && isZero(bytes)
            }
            entries[block] = .known
            return true
        }
    }

    /// Something is about to be sent for a block.
    private mutating func change(_ block: Int, isWhole: Bool, send: (Change) -> Void) {
        // What surrounds a part of a block must be as it should before the part comes.
        if entries[block] == .toClear, !isWhole { sendZeroes(grid.range(of: block), send) }
        if entries[block] != .void { differingBlocks += 1 }
        entries[block] = .void
    }

    /// Takes zeroes, or a range that the guest has given up and that reads as zeroes from now on.
    public mutating func clear(_ range: Range<UInt64>, send: (Change) -> Void) {
        guard !range.isEmpty else { return }
        var run: Range<UInt64>?
        for block in grid.blocks(touching: range) {
            let part = grid.range(of: block).clamped(to: range)
            let isWhole = part == grid.range(of: block)
            if entries[block] == .known, isWhole { entries[block] = .toClear }
            if entries[block] == .zeroes || entries[block] == .toClear {
                if let ended = run { sendZeroes(ended, send) }
                run = nil
            } else {
                change(block, isWhole: isWhole, send: send)
                run = (run?.lowerBound ?? part.lowerBound)..<part.upperBound
            }
        }
        if let run { sendZeroes(run, send) }
    }

    /// Sends the zeroes that still wait. The table is worth nothing afterwards.
    public mutating func finish(send: (Change) -> Void) {
        var run: Range<UInt64>?
        for block in entries.indices {
            guard entries[block] == .toClear else {
                if let ended = run { sendZeroes(ended, send) }
                run = nil
                continue
            }
            differingBlocks += 1
            entries[block] = .void
            let range = grid.range(of: block)
            run = (run?.lowerBound ?? range.lowerBound)..<range.upperBound
        }
        if let run { sendZeroes(run, send) }
    }

    private func sendZeroes(_ range: Range<UInt64>, _ send: (Change) -> Void) {
        send(.zeroes(offset: range.lowerBound, length: UInt64(range.count)))
    }
}
