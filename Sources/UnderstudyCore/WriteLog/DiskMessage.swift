// SPDX-License-Identifier: Apache-2.0

/// One message of the disk stream: a change of a disk, or the end of an epoch's changes.
///
/// The disk stream runs beside the checkpoint stream, from the primary to the backup, one message per sealed record, after the
/// `hello` messages of `WireFormat`. All integers are little-endian:
///
/// | offset | size | `data`, `zeroes`, `discard`              | `mark`                                     |
/// |-------:|-----:|------------------------------------------|--------------------------------------------|
/// |      0 |    1 | kind                                     | kind                                       |
/// |      1 |    1 | zero                                     | zero                                       |
/// |      2 |    2 | the disk's index                         | zero                                       |
/// |      4 |    4 | bytes of data after the header           | zero                                       |
/// |      8 |    8 | the first changed byte                   | generation                                 |
/// |     16 |    8 | number of changed bytes                  | session nonce                              |
/// |     24 |    8 | the entry of the write log it belongs to | epoch                                      |
/// |     32 |      | data                                     | the last entry that belongs to the epoch (u64) |
///
/// Entries are numbered from 1 in the order of the guest's writes; a number may be missing when a later write of the same epoch made it
/// superfluous, and a large write comes as several messages of one entry. Until the mark of epoch 0 everything is a copy of the disks'
/// contents and may be applied at once; from then on only whole epochs count. A mark may come after entries of the next epoch.
public struct DiskMessage: Sendable, Equatable {
    public enum Kind: UInt8, Sendable, CaseIterable {
        case data = 16
        case zeroes = 17
        /// The guest said that it does not need the bytes any more; they read as zeroes from now on.
        case discard = 18
        case mark = 19
    }

    /// What a disk's bytes become.
    public struct Change: Sendable, Equatable {
        public var disk: UInt16
        public var offset: UInt64
        public var length: UInt64
        public var entry: UInt64

        public init(disk: UInt16, offset: UInt64, length: UInt64, entry: UInt64) {
            self.disk = disk
            self.offset = offset
            self.length = length
            self.entry = entry
        }

        /// The first byte after the change; nil when the numbers overflow.
        public var end: UInt64? {
            let (end, overflow) = offset.addingReportingOverflow(length)
            return overflow ? nil : end
        }
    }

    public enum Content: Sendable, Equatable {
        /// The new bytes lie behind the header.
        case data(Change)
        case zeroes(Change)
        case discard(Change)
        case mark(EpochIdentity, through: UInt64)
    }

    public static let headerLength = 32
    public static let markLength = 40
    /// The largest number of data bytes in one message.
    public static let maximumData = WireFormat.maximumRecordLength - 4096

    /// Reads one message, which must be whole.
    ///
    /// - Parameters:
    ///   - bytes: the message.
    ///   - diskLengths: the disks' sizes in bytes, by their indexes; nothing may lie outside.
    public static func decode(_ bytes: UnsafeRawBufferPointer, diskLengths: [UInt64]) throws(WireFormatError) -> Content {
        guard bytes.count >= headerLength, let kind = Kind(rawValue: bytes[0]), bytes[1] == 0 else {
            throw WireFormatError(.unknownValue, "a message of the disk stream has no known kind")
        }
        let dataLength = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        if kind == .mark { return try decodeMark(bytes) }
        let change = Change(
            disk: UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)), offset: word(bytes, 8),
            length: word(bytes, 16),
            entry: word(bytes, 24))
        guard Int(change.disk) < diskLengths.count else {
            throw WireFormatError(.outsideBlock, "a change of disk \(change.disk), which there is not")
        }
        guard change.length > 0, let end = change.end, end <= diskLengths[Int(change.disk)] else {
            throw WireFormatError(.outsideBlock, "a change of disk \(change.disk) lies outside it")
        }
        guard bytes.count == headerLength + Int(dataLength), kind == .data ? UInt64(dataLength) == change.length : dataLength == 0 else {
            throw WireFormatError(.wrongLength, "a change of disk \(change.disk) has another length than it says")
        }
        switch kind {
        case .data: return .data(change)
        case .zeroes: return .zeroes(change)
        case .discard, .mark: return .discard(change)
        }
    }

    private static func decodeMark(_ bytes: UnsafeRawBufferPointer) throws(WireFormatError) -> Content {
        guard bytes.count == markLength else { throw WireFormatError(.wrongLength, "a mark of \(bytes.count) bytes in the disk stream") }
        return .mark(
            EpochIdentity(generation: word(bytes, 8), sessionNonce: word(bytes, 16), epoch: word(bytes, 24)), through: word(bytes, 32))
    }

    /// Writes the header of a change; the data, if any, goes behind it.
    public static func encode(_ kind: Kind, _ change: Change, into header: UnsafeMutableRawBufferPointer) {
        precondition(kind != .mark && header.count >= headerLength, "a change has a header of 32 bytes")
        header[0] = kind.rawValue
        header[1] = 0
        header.storeBytes(of: change.disk.littleEndian, toByteOffset: 2, as: UInt16.self)
        header.storeBytes(of: (kind == .data ? UInt32(change.length) : 0).littleEndian, toByteOffset: 4, as: UInt32.self)
        store(change.offset, change.length, change.entry, into: header)
    }

    /// Writes a mark of 40 bytes.
    public static func encodeMark(_ identity: EpochIdentity, through entry: UInt64, into header: UnsafeMutableRawBufferPointer) {
        precondition(header.count >= markLength, "a mark has 40 bytes")
        header.initializeMemory(as: UInt8.self, repeating: 0)
        header[0] = Kind.mark.rawValue
        store(identity.generation, identity.sessionNonce, identity.epoch, into: header)
        header.storeBytes(of: entry.littleEndian, toByteOffset: 32, as: UInt64.self)
    }

    private static func store(_ first: UInt64, _ second: UInt64, _ third: UInt64, into header: UnsafeMutableRawBufferPointer) {
        header.storeBytes(of: first.littleEndian, toByteOffset: 8, as: UInt64.self)
        header.storeBytes(of: second.littleEndian, toByteOffset: 16, as: UInt64.self)
        header.storeBytes(of: third.littleEndian, toByteOffset: 24, as: UInt64.self)
    }

    private static func word(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}
