// SPDX-License-Identifier: Apache-2.0

extension WireMessage {
    /// Decodes a record that must hold exactly one message without bulk data.
    ///
    /// - Throws: `WireFormatError`; the bytes may be anything at all.
    public init(decoding record: UnsafeRawBufferPointer) throws(WireFormatError) {
        let header = try WireHeader.read(record)
        guard header.length == record.count else {
            throw WireFormatError(.wrongLength, "a record of \(record.count) bytes holds a message of \(header.length)")
        }
        self = try Self.decode(header, record)
    }

    /// Decodes the message whose header was read from the start of the bytes.
    static func decode(_ header: WireHeader, _ bytes: UnsafeRawBufferPointer) throws(WireFormatError) -> WireMessage {
        switch header.kind {
        case .hello: return .hello(try decodeHello(header, bytes))
        case .epochBegin: return .epochBegin(try decodeBegin(header, bytes))
        case .epochEnd: return .epochEnd(try decodeEnd(header, bytes))
        case .acknowledgement: return .acknowledgement(try decodeAcknowledgement(header, bytes))
        case .refusal: return .refusal(try decodeRefusal(header, bytes))
        case .pages, .deviceState, .deviceDelta, .packed:
            throw WireFormatError(.unexpectedMessage, "a \(header.kind) message stands outside of an epoch")
        }
    }

    private static func decodeHello(_ header: WireHeader, _ bytes: UnsafeRawBufferPointer) throws(WireFormatError) -> Hello {
        try header.expect(length: WireFormat.controlLength)
        guard header.first == WireFormat.protocolVersion else {
            throw WireFormatError(
                .unknownValue, "the peer speaks version \(header.first) of the checkpoint stream, this daemon \(WireFormat.protocolVersion)"
            )
        }
        guard let role = Role(rawValue: header.second) else {
            throw WireFormatError(.unknownValue, "role \(header.second) is unknown")
        }
        return Hello(protocolVersion: header.first, role: role, base: try EpochIdentity(bytes, at: WireFormat.headerLength))
    }

    static func decodeBegin(_ header: WireHeader, _ bytes: UnsafeRawBufferPointer) throws(WireFormatError) -> EpochBegin {
        try header.expect(length: WireFormat.controlLength)
        guard let kind = EpochKind(kind: header.first, round: header.second) else {
            throw WireFormatError(.unknownValue, "epoch kind \(header.first) with round \(header.second) is unknown")
        }
        return EpochBegin(identity: try EpochIdentity(bytes, at: WireFormat.headerLength), kind: kind)
    }

    static func decodeEnd(_ header: WireHeader, _ bytes: UnsafeRawBufferPointer) throws(WireFormatError) -> EpochEnd {
        try header.expect(length: WireFormat.epochEndLength)
        try header.expectNoParameters()
        let counts = WireFormat.controlLength
        return EpochEnd(
            identity: try EpochIdentity(bytes, at: WireFormat.headerLength),
            pageCount: bytes.littleEndian(at: counts, as: UInt64.self), zeroCount: bytes.littleEndian(at: counts + 8, as: UInt64.self),
            deviceStateLength: bytes.littleEndian(at: counts + 16, as: UInt64.self),
            recordCount: bytes.littleEndian(at: counts + 24, as: UInt64.self))
    }

    private static func decodeAcknowledgement(
        _ header: WireHeader, _ bytes: UnsafeRawBufferPointer
    ) throws(WireFormatError) -> EpochIdentity {
        try header.expect(length: WireFormat.controlLength)
        try header.expectNoParameters()
        return try EpochIdentity(bytes, at: WireFormat.headerLength)
    }

    private static func decodeRefusal(_ header: WireHeader, _ bytes: UnsafeRawBufferPointer) throws(WireFormatError) -> Refusal {
        let textLength = Int(header.second)
        guard textLength <= WireFormat.maximumRefusalTextLength else {
            throw WireFormatError(.wrongLength, "the text of a refusal has \(textLength) bytes")
        }
        try header.expect(length: WireFormat.controlLength + textLength)
        let text = UnsafeRawBufferPointer(rebasing: bytes[WireFormat.controlLength..<header.length])
        guard let message = String(validating: text, as: UTF8.self) else {
            throw WireFormatError(.invalidText, "the text of a refusal is not UTF-8")
        }
        return Refusal(identity: try EpochIdentity(bytes, at: WireFormat.headerLength), code: header.first, message: message)
    }
}

extension WireHeader {
    func expect(length expected: Int) throws(WireFormatError) {
        guard length == expected else {
            throw WireFormatError(.wrongLength, "a \(kind) message has \(length) bytes instead of \(expected)")
        }
    }

    func expectNoParameters() throws(WireFormatError) {
        guard first == 0, second == 0 else {
            throw WireFormatError(.unknownValue, "a reserved field of a \(kind) message is not zero")
        }
    }
}
