// SPDX-License-Identifier: Apache-2.0

extension StagedEpoch {
    /// The pages of an epoch in order. Iterating allocates nothing.
    public struct Pages: Sequence, IteratorProtocol {
        private var walk: MessageWalk
        private var message = UnsafeRawBufferPointer(start: nil, count: 0)
        private var block: UInt16 = 0
        private var entryCount = 0
        private var entry = 0
        private var rawOffset = 0

        init(messages: UnsafeRawBufferPointer) {
            walk = MessageWalk(messages)
        }

        public mutating func next() -> StagedPage? {
            while entry == entryCount {
                guard let (header, bytes) = walk.next(.pages) else { return nil }
                message = bytes
                block = header.block
                entryCount = Int(header.first)
                entry = 0
                rawOffset = PageRecordEncoder.tableLength(entries: entryCount)
            }
            let value = message.littleEndian(at: WireFormat.headerLength + entry * 8, as: UInt64.self)
            entry += 1
            guard value & WireFormat.zeroPageFlag == 0 else {
                return StagedPage(block: block, offset: value & ~WireFormat.zeroPageFlag, content: nil)
            }
            precondition(rawOffset + WireFormat.pageSize <= message.count, "a verified message has all of its pages")
            // SAFETY: the range was checked in the line above.
            let content = message.baseAddress! + rawOffset
            rawOffset += WireFormat.pageSize
            return StagedPage(block: block, offset: value, content: content)
        }
    }

    /// The pieces of an epoch's device state in order. Iterating allocates nothing.
    public struct DeviceStateChunks: Sequence, IteratorProtocol {
        private var walk: MessageWalk

        init(messages: UnsafeRawBufferPointer) {
            walk = MessageWalk(messages)
        }

        public mutating func next() -> UnsafeRawBufferPointer? {
            guard let (_, bytes) = walk.next(.deviceState) else { return nil }
            return UnsafeRawBufferPointer(rebasing: bytes[WireFormat.headerLength...])
        }
    }
}

/// Walks over verified messages and stops at those of one kind.
struct MessageWalk {
    private var rest: UnsafeRawBufferPointer

    init(_ messages: UnsafeRawBufferPointer) {
        rest = messages
    }

    mutating func next(_ wanted: WireFormat.Kind) -> (WireHeader, UnsafeRawBufferPointer)? {
        while rest.count > 0 {
            // The bytes were verified when the epoch was made; bytes that changed since end the walk in a precondition.
            guard let header = try? WireHeader.read(rest) else { preconditionFailure("a verified epoch was changed in its arena") }
            let message = UnsafeRawBufferPointer(rebasing: rest[..<header.length])
            rest = UnsafeRawBufferPointer(rebasing: rest[header.length...])
            if header.kind == wanted { return (header, message) }
        }
        return nil
    }
}
