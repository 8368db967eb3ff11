// SPDX-License-Identifier: Apache-2.0

import UnderstudyCore

/// Room for one message without bulk data, for the time of one call.
struct MessageBuffer: ~Copyable {
    private let buffer: UnsafeMutableRawBufferPointer = .allocate(byteCount: WireFormat.maximumControlLength, alignment: 8)

    deinit {
        buffer.deallocate()
    }

    /// Decodes what `fill` wrote, or passes on its nil.
    borrowing func read(
        _ fill: (UnsafeMutableRawBufferPointer) throws(LinkError) -> Int?
    ) throws(LinkError) -> WireMessage? {
        do {
            guard let length = try fill(buffer) else { return nil }
            return try WireMessage(decoding: UnsafeRawBufferPointer(rebasing: buffer[..<length]))
        } catch let error as LinkError {
            guard error.code == .bufferTooSmall else { throw error }
            throw LinkError(.protocolViolation, "the peer sent bulk data where a message was expected", cause: error)
        } catch {
            throw LinkError(.protocolViolation, "the peer sent a message that is not one of the protocol's", cause: error)
        }
    }
}
