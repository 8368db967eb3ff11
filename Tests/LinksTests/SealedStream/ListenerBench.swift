// SPDX-License-Identifier: Apache-2.0

import Glibc
import UnderstudyCore

@testable import Links

/// A listener on loopback that expects one session, and what became of its connections.
final class ListenerBench {
    let session: CheckpointSessionID
    let key: CheckpointSessionKey
    let accepted = Inbox<(SealedStream, WireMessage.Hello)>()
    let rejected = Inbox<LinkError>()
    let listener: CheckpointListener

    static let base = EpochIdentity(generation: 3, sessionNonce: 99, epoch: 0)
    static let hello = WireMessage.hello(.init(role: .primary, base: base))

    init(greetingLimit: Duration = .seconds(60), maximumWaiting: Int = 8) throws {
        let (session, key) = (try CheckpointSessionID.random(), try CheckpointSessionKey.random())
        let (accepted, rejected) = (accepted, rejected)
        self.session = session
        self.key = key
        listener = try CheckpointListener(
            host: "127.0.0.1", port: 0, greetingLimit: greetingLimit, maximumWaiting: maximumWaiting,
            handlers: .init(
                key: { $0 == session ? key : nil }, accepted: { accepted.put(($0, $1)) }, rejected: { error, _ in rejected.put(error) }))
    }

    deinit {
        listener.stop()
    }

    func connect(session: CheckpointSessionID? = nil, key: CheckpointSessionKey? = nil) throws(LinkError) -> SealedStream {
        try SealedStream.connect(
            host: "127.0.0.1", port: listener.port, session: session ?? self.session, key: key ?? self.key, deadline: .soon())
    }

    /// Both ends of an accepted stream.
    func pair() throws -> (primary: SealedStream, backup: SealedStream) {
        let primary = try connect()
        try primary.send(Self.hello, deadline: .soon())
        guard let (backup, _) = accepted.take() else { throw LinkError(.timedOut, "nothing was accepted") }
        return (primary, backup)
    }

    /// A plain TCP connection to the listener.
    func plainSocket() throws(LinkError) -> StreamSocket {
        try TCPSocket.connect(host: "127.0.0.1", port: listener.port, options: StreamOptions(), deadline: .soon())
    }
}

extension StreamSocket {
    func sendAll(_ bytes: [UInt8]) throws(LinkError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let sent = try Array(rest).span.withUnsafeBytes { bytes throws(LinkError) in try send(bytes) }
            rest = rest.dropFirst(sent)
            if !rest.isEmpty { try wait(for: Int32(POLLOUT), until: .soon()) }
        }
    }

    func receiveExactly(_ count: Int) throws(LinkError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            if let more = try receiveUpTo(count - bytes.count) { bytes += more } else { try wait(for: Int32(POLLIN), until: .soon()) }
        }
        return bytes
    }
}
