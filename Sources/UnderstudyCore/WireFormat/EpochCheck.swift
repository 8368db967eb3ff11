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
            try acceptDeviceState(header, bytes: UInt64(header.length - WireFormat.headerLength))
        case .deviceDelta:
            try acceptDeviceDelta(header, message)
        case .epochEnd:
            try acceptEnd(try WireMessage.decodeEnd(header, message))
        case .hello, .acknowledgement, .refusal, .packed:
            throw WireFormatError(.unexpectedMessage, "a \(header.kind) message stands inside an epoch")
        }
    }

    private mutating func acceptPages(
        _ header: WireHeader, _ message: UnsafeRawBufferPointer, blockLengths: [UInt64]
    ) throws(WireFormatError) {
        guard Int(header.block) < blockLengths.count else {
            throw WireFormatError(.outsideBlock, "RAM block \(header.block) does not exist, there are \(blockLengths.count)")
        }
        let (entries, contentLength) = (Int(header.first), Int(header.second))
        // The counts come from the peer: bound them before they are added.
        guard entries > 0, entries <= WireFormat.maximumRecordLength / 8, contentLength <= WireFormat.maximumRecordLength else {
            throw WireFormatError(.wrongLength, "a pages message has \(entries) entries and \(contentLength) bytes of content")
        }
        let tableLength = PageRecordEncoder.tableLength(entries: entries)
        try header.expect(length: tableLength + contentLength)
        var position = tableLength
        for entry in 0..<entries {
            let value = message.littleEndian(at: WireFormat.headerLength + entry * 8, as: UInt64.self)
            try Self.checkPlace(value, block: header.block, length: blockLengths[Int(header.block)])
            try acceptContent(value, message, &position)
        }
        guard position == header.length else {
            throw WireFormatError(
                .countMismatch, "a pages message has \(contentLength) bytes of content, its entries \(position - tableLength)")
        }
        if entries % 2 == 1, message.littleEndian(at: tableLength - 8, as: UInt64.self) != 0 {
            throw WireFormatError(.unknownValue, "the padding of a pages message is not zero")
        }
        pageCount += UInt64(entries)
    }

    /// Holds one page's content against what is there; the delta's form is all that can be said of it without the page.
    private mutating func acceptContent(
        _ entry: UInt64, _ message: UnsafeRawBufferPointer, _ position: inout Int
    ) throws(WireFormatError) {
        let number = entry & UInt64(WireFormat.pageSize - 1)
        if number == WireFormat.zeroPage {
            zeroCount += 1
            return
        }
        guard number <= UInt64(PageDelta.maximumLength) else {
            throw WireFormatError(.unknownValue, "a page entry has the unknown number \(number)")
        }
        let end = position + (number == 0 ? WireFormat.pageSize : Int(number))
        guard end <= message.count else {
            throw WireFormatError(.countMismatch, "a pages message ends inside the content of its pages")
        }
        if number > 0 {
            guard PageDelta.isValid(UnsafeRawBufferPointer(rebasing: message[position..<end])) else {
                throw WireFormatError(.delta, "the delta of a page is malformed or leaves the page")
            }
        }
        position = end
    }

    private static func checkPlace(_ value: UInt64, block: UInt16, length: UInt64) throws(WireFormatError) {
        let pageSize = UInt64(WireFormat.pageSize)
        let offset = value & ~(pageSize - 1)
        guard length >= pageSize, offset <= length - pageSize else {
            throw WireFormatError(.outsideBlock, "the page at \(offset) is outside of RAM block \(block) of \(length) bytes")
        }
    }

    private mutating func acceptDeviceDelta(_ header: WireHeader, _ message: UnsafeRawBufferPointer) throws(WireFormatError) {
        let (offset, total) = (Int(header.first), Int(header.second))
        guard offset % WireFormat.pageSize == 0 else {
            throw WireFormatError(.deviceState, "a delta of the device state begins at \(offset), inside a piece")
        }
        var (position, covered) = (WireFormat.headerLength, 0)
        while position < message.count {
            let length = min(WireFormat.pageSize, total - offset - covered)
            guard length > 0, DeviceStateDelta.next(message, &position, length: length) != nil else {
                throw WireFormatError(.delta, "a delta of the device state is malformed or leaves the state")
            }
            covered += length
        }
        try acceptDeviceState(header, bytes: UInt64(covered))
    }

    private mutating func acceptDeviceState(_ header: WireHeader, bytes length: UInt64) throws(WireFormatError) {
        let (offset, total) = (UInt64(header.first), UInt64(header.second))
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
