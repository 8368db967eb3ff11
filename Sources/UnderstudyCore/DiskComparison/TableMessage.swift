// SPDX-License-Identifier: Apache-2.0

/// What the backup says of the images that it has: the way back of the disk stream, one message per sealed record, right after the `hello`
/// messages and before the primary sends anything of the disks. All integers are little-endian:
///
/// | offset | size | `key`     | `digests`                  | `zeroes`               | `end` |
/// |-------:|-----:|-----------|----------------------------|------------------------|-------|
/// |      0 |    1 | kind      | kind                       | kind                   | kind  |
/// |      1 |    1 | zero      | zero                       | zero                   | zero  |
/// |      2 |    2 | zero      | the disk's index           | the disk's index       | zero  |
/// |      4 |    4 | zero      | number of blocks, 1 to 1024 | number of blocks      | zero  |
/// |      8 |    8 | zero      | the first block            | the first block        | zero  |
/// |     16 |      | 32 bytes  | 16 bytes per block         |                        |       |
///
/// `key` comes first and once, `end` last; the others come in any order. A block that no message names is unknown, and is sent.
public struct TableMessage: Sendable {
    private enum Kind: UInt8 {
        case key = 32
        case digests = 33
        case zeroes = 34
        case end = 35
    }

    public enum Content: Sendable, Equatable {
        case key([UInt8])
        case digests(disk: Int, first: Int, [BlockDigest])
        case zeroes(disk: Int, blocks: Range<Int>)
        case end
    }

    public static let headerLength = 16
    /// Bytes of the key of a table's digests.
    public static let keyLength = 32
    /// The largest number of digests in one message.
    public static let maximumDigests = 1024
    public static let maximumLength = headerLength + maximumDigests * BlockDigest.byteCount

    /// Reads one message, which must be whole.
    ///
    /// - Parameter grids: of the disks, by their indexes; no message may name a block outside.
    public static func decode(_ bytes: UnsafeRawBufferPointer, grids: [BlockGrid]) throws(WireFormatError) -> Content {
        guard bytes.count >= headerLength, let kind = Kind(rawValue: bytes[0]), bytes[1] == 0 else {
            throw WireFormatError(.unknownValue, "a message about the images has no known kind")
        }
        let body = UnsafeRawBufferPointer(rebasing: bytes[headerLength...])
        switch kind {
        case .key:
            guard body.count == keyLength else { throw WireFormatError(.wrongLength, "a table's key of \(body.count) bytes") }
            return .key(Array(body))
        case .end:
            guard body.isEmpty else { throw WireFormatError(.wrongLength, "a table's end with \(body.count) bytes") }
            return .end
        case .digests, .zeroes:
            let (disk, blocks) = try decodePlace(bytes, grids)
            guard kind == .digests else {
                guard body.isEmpty else { throw WireFormatError(.wrongLength, "blocks of zeroes with \(body.count) bytes") }
                return .zeroes(disk: disk, blocks: blocks)
            }
            guard blocks.count <= maximumDigests, body.count == blocks.count * BlockDigest.byteCount else {
                throw WireFormatError(.wrongLength, "\(body.count) bytes of digests for \(blocks.count) blocks")
            }
            let digests = blocks.indices.map {
                BlockDigest(UnsafeRawBufferPointer(rebasing: body[(($0 - blocks.lowerBound) * BlockDigest.byteCount)...]))
            }
            return .digests(disk: disk, first: blocks.lowerBound, digests)
        }
    }

    private static func decodePlace(_ bytes: UnsafeRawBufferPointer, _ grids: [BlockGrid]) throws(WireFormatError) -> (Int, Range<Int>) {
        let disk = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
        let count = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
        let first = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        guard disk < grids.count else { throw WireFormatError(.outsideBlock, "a table of disk \(disk), which there is not") }
        guard count > 0, first < UInt64(grids[disk].count), count <= grids[disk].count - Int(first) else {
            throw WireFormatError(.outsideBlock, "\(count) blocks from \(first) on lie outside disk \(disk)")
        }
        return (disk, Int(first)..<Int(first) + count)
    }

    /// The bytes of one message.
    ///
    /// - Precondition: a key has 32 bytes, and no more than 1,024 digests go into one message.
    public static func encode(_ content: Content) -> [UInt8] {
        switch content {
        case .key(let key):
            precondition(key.count == keyLength, "a table's key has 32 bytes")
            return header(.key) + key
        case .digests(let disk, let first, let digests):
            precondition((1...maximumDigests).contains(digests.count), "a message has 1 to 1,024 digests")
            var bytes = header(.digests, disk: disk, first: first, count: digests.count)
            bytes.reserveCapacity(maximumLength)
            for digest in digests {
                for half in [digest.low, digest.high] { withUnsafeBytes(of: half.littleEndian) { bytes += $0 } }
            }
            return bytes
        case .zeroes(let disk, let blocks): return header(.zeroes, disk: disk, first: blocks.lowerBound, count: blocks.count)
        case .end: return header(.end)
        }
    }

    private static func header(_ kind: Kind, disk: Int = 0, first: Int = 0, count: Int = 0) -> [UInt8] {
        var bytes = [kind.rawValue, 0]
        withUnsafeBytes(of: UInt16(disk).littleEndian) { bytes += $0 }
        withUnsafeBytes(of: UInt32(count).littleEndian) { bytes += $0 }
        withUnsafeBytes(of: UInt64(first).littleEndian) { bytes += $0 }
        return bytes
    }
}
