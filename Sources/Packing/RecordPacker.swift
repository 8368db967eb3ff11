internal import CLZ4
internal import CZstd
public import UnderstudyCore

/// Compresses messages of the checkpoint stream, one by one, with prepared contexts.
///
/// Owned by one thread; allocates when it is made, never per message.
public final class RecordPacker {
    private let message: UnsafeMutableRawBufferPointer
    private let record: UnsafeMutableRawBufferPointer
    private let lz4State: UnsafeMutableRawPointer
    private let zstd: OpaquePointer

    /// zstd's fastest level of those that are not negative.
    private static let zstdLevel: Int32 = 1
    /// LZ4's own default: higher ones are faster and pack less.
    private static let lz4Acceleration: Int32 = 1

    /// - Throws: `PackingError` when memory is short.
    public init() throws(PackingError) {
        guard let context = ZSTD_createCCtx() else { throw PackingError("zstd has no memory for a context") }
        zstd = context
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Self.zstdLevel)
        message = .allocate(byteCount: WireFormat.maximumRecordLength, alignment: 64)
        record = .allocate(byteCount: WireFormat.maximumRecordLength, alignment: 64)
        lz4State = .allocate(byteCount: Int(LZ4_sizeofState()), alignment: 16)
        message.initializeMemory(as: UInt8.self, repeating: 0)
        // The context allocates for the largest message now.
        _ = compress(message.count, by: .zstd, into: UnsafeMutableRawBufferPointer(record))
    }

    deinit {
        message.deallocate()
        record.deallocate()
        lz4State.deallocate()
        ZSTD_freeCCtx(zstd)
    }

    /// Compresses one message.
    ///
    /// - Parameter pieces: the message, at most `WireFormat.maximumRecordLength` bytes in all.
    /// - Returns: the record, valid until the next call; nil when it would not be a sixteenth smaller, at least.
    public func pack(
        _ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, by method: PackedRecord.Method
    ) -> UnsafeRawBufferPointer? {
        var length = 0
        for piece in pieces {
            UnsafeMutableRawBufferPointer(rebasing: message[length...]).copyMemory(from: piece)
            length += piece.count
        }
        let limit = length - length / 16
        guard limit > PackedRecord.headerLength else { return nil }
        let body = UnsafeMutableRawBufferPointer(rebasing: record[PackedRecord.headerLength..<limit])
        guard let packed = compress(length, by: method, into: body) else { return nil }
        let total = PackedRecord.headerLength + packed
        PackedRecord(method: method, unpackedLength: length).write(to: record, length: total)
        return UnsafeRawBufferPointer(rebasing: record[..<total])
    }

    /// Compresses the first `length` bytes of `message`; nil when the result does not fit.
    private func compress(_ length: Int, by method: PackedRecord.Method, into room: UnsafeMutableRawBufferPointer) -> Int? {
        // SAFETY: both libraries read `length` bytes, write at most `room.count` and keep nothing.
        switch method {
        case .lz4:
            let count = LZ4_compress_fast_extState(
                lz4State, message.baseAddress, room.baseAddress, Int32(length), Int32(room.count), Self.lz4Acceleration)
            return count > 0 ? Int(count) : nil
        case .zstd:
            let count = ZSTD_compress2(zstd, room.baseAddress, room.count, message.baseAddress, length)
            return ZSTD_isError(count) == 0 ? count : nil
        }
    }
}
