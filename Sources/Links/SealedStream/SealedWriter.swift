// SPDX-License-Identifier: Apache-2.0

import Glibc
import Synchronization
import UnderstudyCore

/// The sending half of a sealed stream: plaintext pieces are encrypted straight into a preallocated send buffer.
///
/// A record on the wire is a length (u32, little-endian: bytes of ciphertext and tag, 17 to 65,552), the ciphertext, and the
/// tag of 16 bytes; see `RecordCipher`. Records are collected and handed to the kernel in batches: call `flush` after the
/// last one. Calls from several threads are put in line. After any error but `.timedOut` the stream is unusable.
public final class SealedWriter: @unchecked Sendable {
    // SAFETY: `state` is only touched inside `lock`; the socket is thread-safe.
    private let lock = Mutex(())
    private var state: State
    private let sent = Atomic<UInt64>(0)
    private let socket: StreamSocket
    private let batchBytes: Int

    static let lengthField = 4
    static let maximumSealedLength = lengthField + WireFormat.maximumRecordLength + RecordCipher.tagLength

    private struct State: ~Copyable {
        var cipher: RecordCipher
        let buffer: UnsafeMutableRawBufferPointer
        /// Sealed bytes not yet sent are `buffer[start..<end]`.
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
        self.batchBytes = max(batchBytes, 1)
        state = State(cipher: cipher, capacity: max(batchBytes, 1) + 2 * Self.maximumSealedLength)
    }

    /// Bytes handed to the kernel so far, sealing included.
    public var bytesSent: UInt64 { sent.load(ordering: .relaxed) }

    /// Seals one record.
    ///
    /// - Parameters:
    ///   - pieces: the plaintext, 1 to 65,536 bytes in all; read during the call only.
    ///   - deadline: until when the call may wait for room in the send buffer.
    /// - Throws: `LinkError`; after `.timedOut` the record was *not* taken and may be written again.
    public func write(
        _ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, deadline: ContinuousClock.Instant
    ) throws(LinkError) {
        try lock.withLock { _ throws(LinkError) in
            try usable { () throws(LinkError) in
                try seal(pieces, deadline: deadline)
                if state.end - state.start >= batchBytes { try sendSome() }
            }
        }
    }

    /// Hands everything sealed so far to the kernel.
    ///
    /// - Throws: `LinkError`; after `.timedOut` the rest stays in line, call again to go on.
    public func flush(deadline: ContinuousClock.Instant) throws(LinkError) {
        try lock.withLock { _ throws(LinkError) in
            try usable { () throws(LinkError) in try drain(until: deadline) }
        }
    }

    private func seal(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, deadline: ContinuousClock.Instant) throws(LinkError) {
        var length = RecordCipher.tagLength
        for piece in pieces { length += piece.count }
        let plaintext = length - RecordCipher.tagLength
        precondition(plaintext > 0 && plaintext <= WireFormat.maximumRecordLength, "a record has 1 to 65,536 bytes of plaintext")
        if state.end + Self.lengthField + length > state.buffer.count { try drain(until: deadline) }
        state.buffer.storeBytes(of: UInt32(length).littleEndian, toByteOffset: state.end, as: UInt32.self)
        let body = state.end + Self.lengthField
        try state.cipher.seal(pieces, into: UnsafeMutableRawBufferPointer(rebasing: state.buffer[body..<body + length]))
        state.end = body + length
    }

    private func drain(until deadline: ContinuousClock.Instant) throws(LinkError) {
        while true {
            try sendSome()
            if state.end == 0 { return }
            try socket.wait(for: Int32(POLLOUT), until: deadline)
        }
    }

    /// Sends until the kernel takes no more or nothing is left.
    private func sendSome() throws(LinkError) {
        while state.start < state.end {
            let sent = try socket.send(UnsafeRawBufferPointer(rebasing: state.buffer[state.start..<state.end]))
            if sent == 0 { return }
            state.start += sent
            self.sent.wrappingAdd(UInt64(sent), ordering: .relaxed)
        }
        state.start = 0
        state.end = 0
    }

    /// Runs a step unless an earlier one failed, and remembers a failure that leaves the stream unusable.
    private func usable(_ step: () throws(LinkError) -> Void) throws(LinkError) {
        if let failure = state.failure { throw failure }
        do {
            try step()
        } catch {
            if error.code != .timedOut { state.failure = error }
            throw error
        }
    }
}
