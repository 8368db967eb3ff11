// SPDX-License-Identifier: Apache-2.0

import Glibc
import LinuxShim
public import UnderstudyCore

/// An authenticated and encrypted byte path between two daemons, over one TCP connection, for dedicated threads.
///
/// Each side sends a clear preface (see `Preface`), then sealed records (see `SealedWriter`). Primaries connect, backups
/// accept through `CheckpointListener`. The socket is closed when stream, writer and reader are all released.
public final class SealedStream: Sendable {
    /// The session that both sides agreed on.
    public let session: CheckpointSessionID
    public let writer: SealedWriter
    public let reader: SealedReader
    /// The peer's address as text, for messages.
    public let peerAddress: String

    private let socket: StreamSocket

    /// The socket, for poll(2) only. Valid as long as this object lives.
    public var descriptor: Int32 { socket.descriptor }

    /// What the kernel last saw the connection carry to the peer, bytes per second (`tcpi_delivery_rate`); nil when it does not know.
    public var deliveryRate: UInt64? {
        let rate = understudy_delivery_rate(socket.descriptor)
        return rate > 0 ? rate : nil
    }

    init(
        socket: StreamSocket, keys: StreamKeys, session: CheckpointSessionID, role: WireMessage.Role, peerAddress: String,
        options: StreamOptions
    ) throws(LinkError) {
        let (outbound, inbound) =
            switch role {
            case .primary: (keys.primaryToBackup, keys.backupToPrimary)
            case .backup: (keys.backupToPrimary, keys.primaryToBackup)
            }
        self.socket = socket
        self.session = session
        self.peerAddress = peerAddress
        writer = SealedWriter(socket: socket, cipher: try RecordCipher(outbound, encrypts: true), batchBytes: options.batchBytes)
        reader = SealedReader(socket: socket, cipher: try RecordCipher(inbound, encrypts: false), batchBytes: options.batchBytes)
    }

    /// Ends the stream at once from any thread; calls that wait in the writer or reader throw `.shutDown`.
    public func shutdown() {
        socket.shutdown()
    }

    /// Connects to a backup host and exchanges prefaces. Send `WireMessage.hello` next: the backup waits for it.
    ///
    /// - Parameters:
    ///   - host: address or name; a name is resolved by the system, which may outlast the deadline.
    ///   - deadline: until when connection and prefaces must be complete.
    /// - Throws: `.connectFailed`, `.timedOut`, `.closed` (also when the backup does not know the session),
    ///   `.protocolViolation`, `.system`.
    public static func connect(
        host: String, port: UInt16, session: CheckpointSessionID, key: CheckpointSessionKey, options: StreamOptions = StreamOptions(),
        deadline: ContinuousClock.Instant
    ) throws(LinkError) -> SealedStream {
        let socket = try TCPSocket.connect(host: host, port: port, options: options, deadline: deadline)
        let preface = try Preface(session: session)
        let answer = try exchange(preface, on: socket, deadline: deadline)
        guard answer.session == session else {
            throw LinkError(.protocolViolation, "the backup host answered for another session than the one asked for")
        }
        return try SealedStream(
            socket: socket, keys: try StreamKeys(session: key, primary: preface, backup: answer), session: session, role: .primary,
            peerAddress: "\(host):\(port)", options: options)
    }

    /// Seals and sends one message without bulk data, such as a hello or an acknowledgement.
    public func send(_ message: WireMessage, deadline: ContinuousClock.Instant) throws(LinkError) {
        let bytes = message.encoded
        try bytes.span.withUnsafeBytes { bytes throws(LinkError) in
            var piece = bytes
            try withUnsafePointer(to: &piece) { piece throws(LinkError) in
                try writer.write(UnsafeBufferPointer(start: piece, count: 1), deadline: deadline)
            }
        }
        try writer.flush(deadline: deadline)
    }

    /// Waits for one message without bulk data.
    ///
    /// - Throws: `LinkError`; `.protocolViolation` when the record is another kind of message.
    public func receive(deadline: ContinuousClock.Instant) throws(LinkError) -> WireMessage {
        try MessageBuffer().read { buffer throws(LinkError) in try reader.read(into: buffer, deadline: deadline) }!
    }

    /// Takes one message without bulk data if a whole one has arrived; nil otherwise. For event loops: call until nil.
    public func receiveAvailable() throws(LinkError) -> WireMessage? {
        try MessageBuffer().read { buffer throws(LinkError) in try reader.readAvailable(into: buffer) }
    }

    private static func exchange(
        _ preface: Preface, on socket: StreamSocket, deadline: ContinuousClock.Instant
    ) throws(LinkError) -> Preface {
        let bytes = preface.encoded
        let sent = try bytes.span.withUnsafeBytes { bytes throws(LinkError) in try socket.send(bytes) }
        // A new connection's send buffer takes 64 bytes at once.
        guard sent == bytes.count else { throw LinkError(.system, "a new connection takes no bytes") }
        var answer: [UInt8] = []
        while answer.count < Preface.length {
            if let more = try socket.receiveUpTo(Preface.length - answer.count) {
                answer += more
            } else {
                try socket.wait(for: Int32(POLLIN), until: deadline)
            }
        }
        return try Preface(decoding: answer)
    }
}
