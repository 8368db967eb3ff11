// SPDX-License-Identifier: Apache-2.0

/// The 16 bytes with which every message begins; see `WireFormat`.
struct WireHeader: Equatable {
    var kind: WireFormat.Kind
    var block: UInt16
    /// Bytes of the whole message, header included.
    var length: Int
    var first: UInt32
    var second: UInt32

    func write(to buffer: UnsafeMutableRawBufferPointer) {
        precondition(buffer.count >= WireFormat.headerLength, "a header needs 16 bytes")
        buffer.storeBytes(of: kind.rawValue, toByteOffset: 0, as: UInt8.self)
        buffer.storeBytes(of: 0, toByteOffset: 1, as: UInt8.self)
        buffer.storeBytes(of: block.littleEndian, toByteOffset: 2, as: UInt16.self)
        buffer.storeBytes(of: UInt32(length).littleEndian, toByteOffset: 4, as: UInt32.self)
        buffer.storeBytes(of: first.littleEndian, toByteOffset: 8, as: UInt32.self)
        buffer.storeBytes(of: second.littleEndian, toByteOffset: 12, as: UInt32.self)
    }

    /// Reads a header and holds it against the bytes that are there.
    ///
    /// - Parameter bytes: begins with the message; may go on after it.
    /// - Throws: `wrongLength` when the message is shorter than a header, longer than a record or than the bytes;
    ///   `unknownValue` for an unknown type or a reserved field that is not zero.
    static func read(_ bytes: UnsafeRawBufferPointer) throws(WireFormatError) -> WireHeader {
        guard bytes.count >= WireFormat.headerLength else {
            throw WireFormatError(.wrongLength, "a message of \(bytes.count) bytes is shorter than its header")
        }
        let type = bytes[0]
        guard let kind = WireFormat.Kind(rawValue: type) else {
            throw WireFormatError(.unknownValue, "message type \(type) is unknown")
        }
        let block = bytes.littleEndian(at: 2, as: UInt16.self)
        guard bytes[1] == 0, kind == .pages || block == 0 else {
            throw WireFormatError(.unknownValue, "a reserved field of a \(kind) message is not zero")
        }
        let length = Int(bytes.littleEndian(at: 4, as: UInt32.self))
        guard length >= WireFormat.headerLength, length <= min(bytes.count, WireFormat.maximumRecordLength) else {
            throw WireFormatError(.wrongLength, "a \(kind) message says it has \(length) bytes, \(bytes.count) are there")
        }
        return WireHeader(
            kind: kind, block: block, length: length, first: bytes.littleEndian(at: 8, as: UInt32.self),
            second: bytes.littleEndian(at: 12, as: UInt32.self))
    }
}

extension UnsafeRawBufferPointer {
    /// A little-endian integer at an offset that the caller has checked (and that is checked again).
    func littleEndian<Value: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: Value.Type) -> Value {
        precondition(offset >= 0 && offset + MemoryLayout<Value>.size <= count, "a read outside of the message")
        // SAFETY: the range was checked in the line above; the load is unaligned.
        return Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
    }
}
