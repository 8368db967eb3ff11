internal import CLZ4
internal import CZstd
public import UnderstudyCore

/// Undoes `RecordPacker`, for bytes that may be anything.
///
/// Owned by one thread; allocates when it is made, never per message.
public final class RecordUnpacker {
    private let zstd: OpaquePointer
    private let packed: UnsafeMutableRawBufferPointer

    /// - Throws: `PackingError` when memory is short.
    public init() throws(PackingError) {
        guard let context = ZSTD_createDCtx() else { throw PackingError("zstd has no memory for a context") }
        zstd = context
        packed = .allocate(byteCount: WireFormat.maximumRecordLength, alignment: 64)
    }

    deinit {
        ZSTD_freeDCtx(zstd)
        packed.deallocate()
    }

    /// Puts the message in the place of the packed record that lies at a buffer's start.
    ///
    /// - Parameters:
    ///   - buffer: the record, and room for `WireFormat.maximumRecordLength` bytes.
    ///   - length: bytes of the record, at most `WireFormat.maximumRecordLength`.
    /// - Returns: bytes of the message.
    /// - Throws: `WireFormatError`: not a packed record, or it does not unpack to exactly what it says. The buffer is then spoilt.
    public func unpack(_ buffer: UnsafeMutableRawBufferPointer, length: Int) throws(WireFormatError) -> Int {
        let record = UnsafeRawBufferPointer(rebasing: buffer[..<length])
        let header = try PackedRecord(record)
        packed.copyMemory(from: record)
        let body = UnsafeRawBufferPointer(rebasing: packed[PackedRecord.headerLength..<length])
        guard header.unpackedLength <= buffer.count, decompress(body, header, into: buffer) == header.unpackedLength else {
            throw WireFormatError(.packing, "a message does not unpack to the \(header.unpackedLength) bytes that it says")
        }
        return header.unpackedLength
    }

    private func decompress(
        _ body: UnsafeRawBufferPointer, _ header: PackedRecord, into buffer: UnsafeMutableRawBufferPointer
    ) -> Int? {
        // SAFETY: both libraries are made for hostile input: they write at most `unpackedLength` bytes, which the buffer has.
        switch header.method {
        case .lz4:
            let count = LZ4_decompress_safe(body.baseAddress, buffer.baseAddress, Int32(body.count), Int32(header.unpackedLength))
            return count >= 0 ? Int(count) : nil
        case .zstd:
            let count = ZSTD_decompressDCtx(zstd, buffer.baseAddress, header.unpackedLength, body.baseAddress, body.count)
            return ZSTD_isError(count) == 0 ? count : nil
        }
    }
}
