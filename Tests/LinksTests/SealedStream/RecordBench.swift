// SPDX-License-Identifier: Apache-2.0

import Glibc
import UnderstudyCore

@testable import Links

/// A writer and a reader whose bytes pass through the test, so that it can alter them.
struct RecordBench {
    let key: CheckpointSessionKey
    let keys: StreamKeys

    init() throws {
        key = try CheckpointSessionKey.random()
        let session = try CheckpointSessionID.random()
        keys = try StreamKeys(session: key, primary: Preface(session: session), backup: Preface(session: session))
    }

    /// The sealed bytes of each plaintext, as they stand on the wire.
    func seal(_ plaintexts: [[UInt8]], recordsPerKey: UInt64 = 1 << 20) throws -> [[UInt8]] {
        let (near, far) = try Self.socketPair()
        let cipher = try RecordCipher(keys.primaryToBackup, encrypts: true, recordsPerKey: recordsPerKey)
        let writer = SealedWriter(socket: near, cipher: cipher, batchBytes: 1)
        return try plaintexts.map { plaintext in
            try writer.write(plaintext)
            try writer.flush(deadline: .soon())
            var bytes: [UInt8] = []
            while let more = try far.receiveUpTo(1 << 17) { bytes += more }
            return bytes
        }
    }

    /// What a reader delivers of these bytes, and the error with which it ends.
    func open(
        _ bytes: [UInt8], with direction: DirectionKeys? = nil, recordsPerKey: UInt64 = 1 << 20
    ) throws -> (delivered: [[UInt8]], error: LinkError) {
        let (near, far) = try Self.socketPair()
        let sending = try DedicatedThread(name: "test-sender") { Self.sendAll(bytes, to: near) }
        defer {
            near.shutdown()
            sending.join()
        }
        let cipher = try RecordCipher(direction ?? keys.primaryToBackup, encrypts: false, recordsPerKey: recordsPerKey)
        let reader = SealedReader(socket: far, cipher: cipher, batchBytes: 1 << 17)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: WireFormat.maximumRecordLength, alignment: 64)
        defer { arena.deallocate() }
        var delivered: [[UInt8]] = []
        while true {
            arena.initializeMemory(as: UInt8.self, repeating: 0)
            do throws(LinkError) {
                let length = try reader.read(into: arena, deadline: .soon())
                delivered.append(Array(arena[..<length]))
            } catch {
                guard arena.allSatisfy({ $0 == 0 }) else { throw LinkError(.system, "plaintext of a failed record stayed in the arena") }
                return (delivered, error)
            }
        }
    }

    /// Sends everything and then the end of the stream, unless the socket is shut down before.
    private static func sendAll(_ bytes: [UInt8], to socket: StreamSocket) {
        do throws(LinkError) {
            try socket.sendAll(bytes)
            Glibc.shutdown(socket.descriptor, Int32(SHUT_WR))
        } catch {
            // The reader stopped at an altered record and closed its end.
        }
    }

    static func socketPair() throws -> (StreamSocket, StreamSocket) {
        var descriptors: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0, &descriptors) == 0 else {
            throw TCPSocket.failure("socketpair")
        }
        for descriptor in descriptors {
            var size: Int32 = 1 << 20
            setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        return (StreamSocket(descriptor: descriptors[0]), StreamSocket(descriptor: descriptors[1]))
    }
}

extension SealedWriter {
    /// Seals an array as one record.
    func write(_ bytes: [UInt8], deadline: ContinuousClock.Instant = .soon()) throws(LinkError) {
        try bytes.span.withUnsafeBytes { bytes throws(LinkError) in
            try [bytes].span.withUnsafeBufferPointer { pieces throws(LinkError) in try write(pieces, deadline: deadline) }
        }
    }
}
