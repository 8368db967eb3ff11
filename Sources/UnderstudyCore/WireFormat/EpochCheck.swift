// SPDX-License-Identifier: Apache-2.0

/// Holds the messages of one epoch against each other while they arrive.
struct EpochCheck {
    private(set) var begin: WireMessage.EpochBegin?
    private(set) var end: WireMessage.EpochEnd?
    private var pageCount: UInt64 = 0
    private var zeroCount: UInt64 = 0
    private var recordCount: UInt64 = 0
    private var deviceStateLength: UInt64 = 0
    private var deviceStateTotal: UInt64 = 0

    /// Checks the next message.
    ///
    /// - Parameter message: exactly the message to which the header belongs.
    mutating func accept(
        _ header: WireHeader, _ message: UnsafeRawBufferPointer, blockLengths: [UInt64]
    ) throws(WireFormatError) {
        guard end == nil, (begin == nil) == (header.kind == .epochBegin) else {
            throw WireFormatError(.unexpectedMessage, "a \(header.kind) message stands at the wrong place of an epoch")
        }
        recordCount += 1
        switch header.kind {
        case .epochBegin:
            begin = try WireMessage.decodeBegin(header, message)
        case .pages:
            try acceptPages(header, message, blockLengths: blockLengths)
        case .deviceState:
            try acceptDeviceState(header)
        case .epochEnd:
            try acceptEnd(try WireMessage.decodeEnd(header, message))
        case .hello, .acknowledgement, .refusal:
            throw WireFormatError(.unexpectedMessage, "a \(header.kind) message stands inside an epoch")
        }
    }

    private mutating func acceptPages(
        _ header: WireHeader, _ message: UnsafeRawBufferPointer, blockLengths: [UInt64]
    ) throws(WireFormatError) {
        guard Int(header.block) < blockLengths.count else {
            throw WireFormatError(.outsideBlock, "RAM block \(header.block) does not exist, there are \(blockLengths.count)")
        }
        let (entries, rawPages) = (Int(header.first), Int(header.second))
        // The counts come from the peer: bound them before they are multiplied.
        guard entries > 0, entries <= WireFormat.maximumRecordLength / 8, rawPages <= entries else {
            throw WireFormatError(.wrongLength, "a pages message has \(entries) entries and \(rawPages) raw pages")
        }
        let tableLength = PageRecordEncoder.tableLength(entries: entries)
        try header.expect(length: tableLength + rawPages * WireFormat.pageSize)
        var raw = 0
        for entry in 0..<entries {
            let value = message.littleEndian(at: WireFormat.headerLength + entry * 8, as: UInt64.self)
            raw += value & WireFormat.zeroPageFlag == 0 ? 1 : 0
            try Self.checkEntry(value, block: header.block, length: blockLengths[Int(header.block)])
        }
        guard raw == rawPages else {
            throw WireFormatError(.countMismatch, "a pages message says \(rawPages) raw pages, its entries say \(raw)")
        }
        if entries % 2 == 1, message.littleEndian(at: tableLength - 8, as: UInt64.self) != 0 {
            throw WireFormatError(.unknownValue, "the padding of a pages message is not zero")
        }
        pageCount += UInt64(entries)
        zeroCount += UInt64(entries - rawPages)
    }

    private static func checkEntry(_ value: UInt64, block: UInt16, length: UInt64) throws(WireFormatError) {
        let pageSize = UInt64(WireFormat.pageSize)
        let offset = value & ~(pageSize - 1)
        guard value & (pageSize - 1) & ~WireFormat.zeroPageFlag == 0 else {
            throw WireFormatError(.unknownValue, "a page entry has unknown flags: \(value & (pageSize - 1))")
        }
        guard length >= pageSize, offset <= length - pageSize else {
            throw WireFormatError(.outsideBlock, "the page at \(offset) is outside of RAM block \(block) of \(length) bytes")
        }
    }

    private mutating func acceptDeviceState(_ header: WireHeader) throws(WireFormatError) {
        let (offset, total) = (UInt64(header.first), UInt64(header.second))
        let length = UInt64(header.length - WireFormat.headerLength)
        guard total <= UInt64(WireFormat.maximumDeviceStateLength), length > 0, offset == deviceStateLength, offset + length <= total,
            offset == 0 || total == deviceStateTotal
        else {
            throw WireFormatError(
                .deviceState, "\(length) bytes of device state at \(offset) of \(total) do not follow \(deviceStateLength) bytes")
        }
        deviceStateTotal = total
        deviceStateLength += length
    }

    private mutating func acceptEnd(_ value: WireMessage.EpochEnd) throws(WireFormatError) {
        guard let begin, value.identity == begin.identity else {
            throw WireFormatError(.countMismatch, "the epoch ends with another identity than it began with")
        }
        guard deviceStateLength == deviceStateTotal else {
            throw WireFormatError(.deviceState, "\(deviceStateLength) of \(deviceStateTotal) bytes of device state are there")
        }
        switch begin.kind {
        case .synchronisation: break
        case .rehearsal, .checkpoint:
            guard deviceStateLength > 0 else { throw WireFormatError(.deviceState, "the checkpoint has no device state") }
        }
        let seen = WireMessage.EpochEnd(
            identity: begin.identity, pageCount: pageCount, zeroCount: zeroCount, deviceStateLength: deviceStateLength,
            recordCount: recordCount)
        guard value == seen else {
            throw WireFormatError(.countMismatch, "the epoch's end says \(value), received was \(seen)")
        }
        end = value
    }
}
