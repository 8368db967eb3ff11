// SPDX-License-Identifier: Apache-2.0

/// A message of the checkpoint stream compressed as a whole: what stands before the compressed bytes.
public struct PackedRecord: Equatable, Sendable {
    /// How it is compressed.
    public enum Method: UInt32, Sendable {
        case lz4 = 1
        case zstd = 2
    }

    public var method: Method
    /// Bytes of the message, 1 to 65,536.
    public var unpackedLength: Int

    public init(method: Method, unpackedLength: Int) {
        self.method = method
        self.unpackedLength = unpackedLength
    }

    /// Bytes before the compressed ones.
    public static let headerLength = WireFormat.headerLength

    /// Whether a record holds a packed message.
    public static func isPacked(_ record: UnsafeRawBufferPointer) -> Bool { record.first == WireFormat.Kind.packed.rawValue }

    /// Writes the header.
    ///
    /// - Parameter length: bytes of the whole record.
    public func write(to buffer: UnsafeMutableRawBufferPointer, length: Int) {
        WireHeader(kind: .packed, block: 0, length: length, first: method.rawValue, second: UInt32(unpackedLength)).write(to: buffer)
    }

    /// Reads the header of a record that holds nothing else.
    ///
    /// - Throws: `WireFormatError`; the bytes may be anything at all.
    public init(_ record: UnsafeRawBufferPointer) throws(WireFormatError) {
        let header = try WireHeader.read(record)
        guard header.kind == .packed else {
            throw WireFormatError(.unexpectedMessage, "a \(header.kind) message stands in the place of a packed one")
        }
        try header.expect(length: record.count)
        guard let method = Method(rawValue: header.first) else {
            throw WireFormatError(.unknownValue, "a message is packed by the unknown method \(header.first)")
        }
        guard header.second > 0, header.second <= UInt32(WireFormat.maximumRecordLength) else {
            throw WireFormatError(.wrongLength, "a packed message says it has \(header.second) bytes")
        }
        self.method = method
        unpackedLength = Int(header.second)
    }
}

extension WireFormat {
    /// What a message that its encoder has just made mostly carries.
    ///
    /// - Parameter head: the message's beginning, its header included.
    public static func content(of head: UnsafeRawBufferPointer) -> CodecChooser.Content {
        guard head.first == Kind.pages.rawValue else { return head.first == Kind.deviceState.rawValue ? .wholePages : .deltas }
        let (entries, bytes) = (head.littleEndian(at: 8, as: UInt32.self), head.littleEndian(at: 12, as: UInt32.self))
        return CodecChooser.Content(bytesPerEntry: Int(bytes) / max(1, Int(entries)))
    }
}
