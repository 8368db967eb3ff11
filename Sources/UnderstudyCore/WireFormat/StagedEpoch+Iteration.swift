// SPDX-License-Identifier: Apache-2.0

extension StagedEpoch {
    /// The pages of an epoch in order. Iterating allocates nothing.
    public struct Pages: Sequence, IteratorProtocol {
        private var walk: MessageWalk
        private var message = UnsafeRawBufferPointer(start: nil, count: 0)
        private var block: UInt16 = 0
        private var entryCount = 0
        private var entry = 0
        private var position = 0

        init(messages: UnsafeRawBufferPointer) {
            walk = MessageWalk(messages)
        }

        public mutating func next() -> StagedPage? {
            while entry == entryCount {
                guard let (header, bytes) = walk.next({ $0 == .pages }) else { return nil }
                message = bytes
                block = header.block
                entryCount = Int(header.first)
                entry = 0
                position = PageRecordEncoder.tableLength(entries: entryCount)
            }
            let value = message.littleEndian(at: WireFormat.headerLength + entry * 8, as: UInt64.self)
            entry += 1
            let number = Int(value) & (WireFormat.pageSize - 1)
            return StagedPage(block: block, offset: value & ~UInt64(WireFormat.pageSize - 1), content: content(number))
        }

        /// Takes the content that an entry's number announces.
        private mutating func content(_ number: Int) -> StagedPage.Content {
            if number == WireFormat.zeroPage { return .zero }
            let length = number == 0 ? WireFormat.pageSize : number
            precondition(position + length <= message.count, "a verified message has all of its pages")
            defer { position += length }
            let bytes = UnsafeRawBufferPointer(rebasing: message[position..<position + length])
            // SAFETY: the range is not empty, so it has a base.
            return number == 0 ? .whole(bytes.baseAddress!) : .delta(bytes)
        }
    }

    /// Puts the epoch's device state together.
    ///
    /// - Parameters:
    ///   - buffer: at least `deviceStateRoom` bytes; what lies behind the state's end is set to zero.
    ///   - previous: the device state that came before this one on the stream; empty for the first.
    /// - Returns: bytes of the state.
    @discardableResult
    public func copyDeviceState(into buffer: UnsafeMutableRawBufferPointer, previous: UnsafeRawBufferPointer) -> Int {
        let room = deviceStateRoom
        let kept = UnsafeRawBufferPointer(rebasing: previous[..<min(previous.count, room)])
        buffer.copyMemory(from: kept)
        UnsafeMutableRawBufferPointer(rebasing: buffer[kept.count..<room]).initializeMemory(as: UInt8.self, repeating: 0)
        let total = Int(end.deviceStateLength)
        var walk = MessageWalk(messages)
        while let (header, message) = walk.next({ $0 == .deviceState || $0 == .deviceDelta }) {
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[Int(header.first)..<room])
            if header.kind == .deviceState {
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: message[WireFormat.headerLength...]))
            } else {
                Self.apply(message, to: target, left: total - Int(header.first))
            }
        }
        UnsafeMutableRawBufferPointer(rebasing: buffer[total..<room]).initializeMemory(as: UInt8.self, repeating: 0)
        return total
    }

    /// Bytes of buffer that `copyDeviceState` needs: the state in whole pieces of a page.
    public var deviceStateRoom: Int { DeviceStateDelta.room(for: Int(end.deviceStateLength)) }

    private static func apply(_ message: UnsafeRawBufferPointer, to target: UnsafeMutableRawBufferPointer, left: Int) {
        var (position, offset) = (WireFormat.headerLength, 0)
        while position < message.count {
            let length = min(WireFormat.pageSize, left - offset)
            guard let piece = DeviceStateDelta.next(message, &position, length: length) else {
                preconditionFailure("a verified epoch was changed in its arena")
            }
            let page = UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + WireFormat.pageSize])
            switch piece {
            case .unchanged: break
            // SAFETY: a whole page of the buffer lies there, which the line above has checked.
            case .delta(let bytes): PageDelta.apply(bytes, to: page.baseAddress!)
            case .whole(let bytes): page.copyMemory(from: bytes)
            }
            offset += length
        }
    }
}

/// Walks over verified messages and stops at those of one kind.
struct MessageWalk {
    private var rest: UnsafeRawBufferPointer

    init(_ messages: UnsafeRawBufferPointer) {
        rest = messages
    }

    mutating func next(_ isWanted: (WireFormat.Kind) -> Bool) -> (WireHeader, UnsafeRawBufferPointer)? {
        while rest.count > 0 {
            // The bytes were verified when the epoch was made; bytes that changed since end the walk in a precondition.
            guard let header = try? WireHeader.read(rest) else { preconditionFailure("a verified epoch was changed in its arena") }
            let message = UnsafeRawBufferPointer(rebasing: rest[..<header.length])
            rest = UnsafeRawBufferPointer(rebasing: rest[header.length...])
            if isWanted(header.kind) { return (header, message) }
        }
        return nil
    }
}
