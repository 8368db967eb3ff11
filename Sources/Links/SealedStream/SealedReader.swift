// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import UnderstudyCore

/// The receiving half of a sealed stream: records are decrypted straight to where the caller wants them.
///
/// Nothing is delivered that does not verify at exactly this place of the stream; see `SealedWriter` for the layout. Calls
/// from several threads are put in line. After an error other than `.timedOut` and `.bufferTooSmall` the stream is
/// unusable, the connection is shut down, and every later call throws the same error, the writer's too.
public final class SealedReader: @unchecked Sendable {
    // SAFETY: `state` is only touched inside `lock`; the socket is thread-safe.
    private let lock = Mutex(())
    private var state: State
    private let received = Atomic<UInt64>(0)
    private let socket: StreamSocket

    private struct State: ~Copyable {
        var cipher: RecordCipher
        let buffer: UnsafeMutableRawBufferPointer
        /// Received bytes not yet opened are `buffer[start..<end]`.
        var start = 0
        var end = 0
        var failure: LinkError?

        init(cipher: consuming RecordCipher, capacity: Int) {
            self.cipher = cipher
            buffer = .allocate(byteCount: capacity, alignment: 64)
        }

        deinit {
            buffer.deallocate()
        }
    }

    init(socket: StreamSocket, cipher: consuming RecordCipher, batchBytes: Int) {
        self.socket = socket
        state = State(cipher: cipher, capacity: max(batchBytes, 1) + SealedWriter.maximumSealedLength)
    }

    /// Bytes received so far, sealing included.
    public var bytesReceived: UInt64 { received.load(ordering: .relaxed) }

    /// Waits for the next record and opens it.
    ///
    /// - Parameters:
    ///   - buffer: gets the plaintext at its start. When the record does not verify, what was written there is set to zero.
    ///   - deadline: until when to wait for a whole record.
    /// - Returns: bytes of plaintext, 1 to 65,536.
    /// - Throws: `LinkError`; after `.timedOut` and `.bufferTooSmall` no record was lost and the call may be made again.
    public func read(into buffer: UnsafeMutableRawBufferPointer, deadline: ContinuousClock.Instant) throws(LinkError) -> Int {
        while true {
            if let length = try readAvailable(into: buffer) { return length }
            try socket.wait(for: Int32(POLLIN), until: deadline)
        }
    }

    /// Opens the next record if all of it is there, for event loops.
    ///
    /// Records that were received together stay in the reader, unseen by poll(2): when the descriptor is readable, call this
    /// until it returns nil.
    ///
    /// - Returns: bytes of plaintext, or nil when no whole record has arrived.
    public func readAvailable(into buffer: UnsafeMutableRawBufferPointer) throws(LinkError) -> Int? {
        try lock.withLock { _ throws(LinkError) -> Int? in
            if let failure = state.failure { throw failure }
            do throws(LinkError) {
                var length = try openNext(into: buffer)
                while length == nil {
                    guard try receiveMore() else { return nil }
                    length = try openNext(into: buffer)
                }
                return length
            } catch {
                if error.code != .bufferTooSmall {
                    state.failure = error
                    socket.shutdown(error)
                }
                throw error
            }
        }
    }

    private func openNext(into buffer: UnsafeMutableRawBufferPointer) throws(LinkError) -> Int? {
        guard let length = try nextLength(), state.end - state.start >= SealedWriter.lengthField + length else { return nil }
        let plaintext = length - RecordCipher.tagLength
        guard plaintext <= buffer.count else {
            throw LinkError(.bufferTooSmall, "a record of \(plaintext) bytes does not fit the \(buffer.count) bytes left for it")
        }
        let body = state.start + SealedWriter.lengthField
        let record = UnsafeRawBufferPointer(rebasing: state.buffer[body..<body + length])
        guard try state.cipher.open(record, into: buffer) else {
            throw LinkError(
                .authenticationFailed,
                "a record of the checkpoint stream does not verify: it was altered, replayed or sealed with another key")
        }
        state.start = body + length
        return plaintext
    }

    /// The length field of the next record, when it is there; checked before anything depends on it.
    private func nextLength() throws(LinkError) -> Int? {
        guard state.end - state.start >= SealedWriter.lengthField else { return nil }
        let length = UInt32(littleEndian: state.buffer.loadUnaligned(fromByteOffset: state.start, as: UInt32.self))
        guard length > RecordCipher.tagLength else {
            throw LinkError(.authenticationFailed, "a record of \(length) bytes is shorter than its seal: the stream was altered")
        }
        guard length <= WireFormat.maximumRecordLength + RecordCipher.tagLength else {
            throw LinkError(.tooLarge, "a record of \(length) bytes is larger than the protocol allows: the stream was altered")
        }
        return Int(length)
    }

    /// Receives once; false when nothing is there.
    private func receiveMore() throws(LinkError) -> Bool {
        if state.start == state.end {
            state.start = 0
            state.end = 0
        } else if state.end + SealedWriter.maximumSealedLength > state.buffer.count {
            // Only a part of one record is left here, so little is moved.
            let rest = UnsafeRawBufferPointer(rebasing: state.buffer[state.start..<state.end])
            state.buffer.copyMemory(from: rest)
            state.end -= state.start
            state.start = 0
        }
        let room = UnsafeMutableRawBufferPointer(rebasing: state.buffer[state.end...])
        guard let count = try socket.receive(into: room) else { return false }
        state.end += count
        received.wrappingAdd(UInt64(count), ordering: .relaxed)
        return true
    }
}
