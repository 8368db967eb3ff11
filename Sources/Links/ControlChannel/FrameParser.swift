// SPDX-License-Identifier: Apache-2.0

import NIOCore

/// Cuts a byte stream into frames: u32 big-endian length, then as many bytes.
struct FrameParser {
    private var buffer = ByteBuffer()

    mutating func append(_ bytes: inout ByteBuffer) {
        if buffer.readableBytes == 0 {
            buffer = bytes
        } else {
            buffer.discardReadBytes()
            buffer.writeBuffer(&bytes)
        }
    }

    /// The next whole frame, which may be empty; nil when more bytes have to come.
    ///
    /// - Throws: `.tooLarge` as soon as a length above the limit is read.
    mutating func next(limit: Int) throws(LinkError) -> [UInt8]? {
        guard let length = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self) else { return nil }
        guard Int(length) <= limit else {
            throw LinkError(.tooLarge, "the peer announces a control frame of \(length) bytes, the limit is \(limit)")
        }
        guard buffer.readableBytes >= 4 + Int(length) else { return nil }
        buffer.moveReaderIndex(forwardBy: 4)
        return buffer.readBytes(length: Int(length))
    }
}
