// SPDX-License-Identifier: Apache-2.0

extension WireFormat {
    /// Bytes of a control message without anything after its identity.
    static let controlLength = headerLength + identityLength
    /// Bytes of an `epochEnd`.
    static let epochEndLength = controlLength + 32
    /// The most bytes that a message without bulk data has.
    public static let maximumControlLength = controlLength + maximumRefusalTextLength
}

extension WireMessage {
    /// Writes the message to the start of a buffer.
    ///
    /// - Parameter buffer: at least `WireFormat.maximumControlLength` bytes for a refusal, 72 for any other message.
    /// - Returns: the message's length in bytes.
    @discardableResult
    public func encode(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        switch self {
        case .hello(let hello):
            return Self.write(.hello, hello.protocolVersion, hello.role.rawValue, hello.base, to: buffer)
        case .epochBegin(let begin):
            let (kind, round) = begin.kind.wireValues
            return Self.write(.epochBegin, kind, round, begin.identity, to: buffer)
        case .epochEnd(let end):
            Self.write(.epochEnd, 0, 0, end.identity, extra: 32, to: buffer)
            let counts = (end.pageCount, end.zeroCount, end.deviceStateLength, end.recordCount)
            buffer.storeBytes(of: counts.0.littleEndian, toByteOffset: WireFormat.controlLength, as: UInt64.self)
            buffer.storeBytes(of: counts.1.littleEndian, toByteOffset: WireFormat.controlLength + 8, as: UInt64.self)
            buffer.storeBytes(of: counts.2.littleEndian, toByteOffset: WireFormat.controlLength + 16, as: UInt64.self)
            buffer.storeBytes(of: counts.3.littleEndian, toByteOffset: WireFormat.controlLength + 24, as: UInt64.self)
            return WireFormat.epochEndLength
        case .acknowledgement(let identity):
            return Self.write(.acknowledgement, 0, 0, identity, to: buffer)
        case .refusal(let refusal):
            let text = refusal.wireText
            Self.write(.refusal, refusal.code, UInt32(text.count), refusal.identity, extra: text.count, to: buffer)
            let room = UnsafeMutableRawBufferPointer(rebasing: buffer[WireFormat.controlLength...])
            room.copyBytes(from: text)
            return WireFormat.controlLength + text.count
        }
    }

    /// The message as an array of its own, for messages outside of the byte path.
    public var encoded: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: WireFormat.maximumControlLength) { buffer, count in
            count = encode(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }

    @discardableResult
    private static func write(
        _ kind: WireFormat.Kind, _ first: UInt32, _ second: UInt32, _ identity: EpochIdentity, extra: Int = 0,
        to buffer: UnsafeMutableRawBufferPointer
    ) -> Int {
        let length = WireFormat.controlLength + extra
        precondition(buffer.count >= length, "the buffer is too small for the message")
        WireHeader(kind: kind, block: 0, length: length, first: first, second: second).write(to: buffer)
        identity.write(to: buffer, at: WireFormat.headerLength)
        return length
    }
}

extension WireMessage.EpochKind {
    /// Kind and round as they stand in an `epochBegin`: 1 synchronisation, 2 rehearsal, 3 checkpoint.
    var wireValues: (kind: UInt32, round: UInt32) {
        switch self {
        case .synchronisation(let round): (1, round)
        case .rehearsal: (2, 0)
        case .checkpoint: (3, 0)
        }
    }

    init?(kind: UInt32, round: UInt32) {
        switch (kind, round) {
        case (1, _): self = .synchronisation(round: round)
        case (2, 0): self = .rehearsal
        case (3, 0): self = .checkpoint
        default: return nil
        }
    }
}

extension WireMessage.Refusal {
    /// The text in UTF-8, cut at a character boundary to what the format allows.
    var wireText: [UInt8] {
        var bytes: [UInt8] = []
        for character in message.unicodeScalars {
            let encoded = UTF8.encode(character)!
            if bytes.count + encoded.count > WireFormat.maximumRefusalTextLength { break }
            bytes.append(contentsOf: encoded)
        }
        return bytes
    }
}
