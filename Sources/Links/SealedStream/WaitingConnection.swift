// SPDX-License-Identifier: Apache-2.0

import UnderstudyCore

/// A connection between its acceptance and its verified hello. Used by the listener's thread only.
final class WaitingConnection {
    let peerAddress: String
    let deadline: ContinuousClock.Instant
    private let socket: StreamSocket
    private var preface: [UInt8] = []
    private var stream: SealedStream?

    var descriptor: Int32 { socket.descriptor }

    init(socket: StreamSocket, peerAddress: String, deadline: ContinuousClock.Instant) {
        self.socket = socket
        self.peerAddress = peerAddress
        self.deadline = deadline
    }

    /// Takes what has arrived.
    ///
    /// - Returns: the stream when its hello verified, nil when more has to come.
    func advance(
        handlers: CheckpointListener.Handlers, options: StreamOptions
    ) throws(LinkError) -> (SealedStream, WireMessage.Hello)? {
        if stream == nil { stream = try readPreface(handlers: handlers, options: options) }
        guard let stream, let message = try stream.receiveAvailable() else { return nil }
        guard case .hello(let hello) = message, hello.role == .primary else {
            throw LinkError(.protocolViolation, "the first message of a checkpoint stream is not a primary's hello")
        }
        return (stream, hello)
    }

    private func readPreface(handlers: CheckpointListener.Handlers, options: StreamOptions) throws(LinkError) -> SealedStream? {
        // No byte beyond the preface may be taken here: it belongs to the first record.
        guard let bytes = try socket.receiveUpTo(Preface.length - preface.count) else { return nil }
        preface += bytes
        guard preface.count == Preface.length else { return nil }
        let primary = try Preface(decoding: preface)
        guard let key = handlers.key(primary.session) else {
            throw LinkError(.authenticationFailed, "session \(primary.session) is not expected on this host")
        }
        let backup = try Preface(session: primary.session)
        // A new connection's send buffer takes 64 bytes at once.
        let answer = backup.encoded
        guard try answer.span.withUnsafeBytes({ bytes throws(LinkError) in try socket.send(bytes) }) == answer.count else {
            throw LinkError(.system, "a new connection takes no bytes")
        }
        return try SealedStream(
            socket: socket, keys: try StreamKeys(session: key, primary: primary, backup: backup), session: primary.session,
            role: .backup, peerAddress: peerAddress, options: options)
    }
}
