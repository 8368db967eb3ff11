internal import Glibc
internal import Links
internal import UnderstudyCore

/// Opens a checkpoint stream as a protected machine does, says hello both ways and closes it.
enum CheckpointTrial {
    /// A session for one trial.
    static func newSession() throws(HostDaemonError) -> (id: CheckpointSessionID, key: CheckpointSessionKey) {
        do throws(LinkError) { return (try CheckpointSessionID.random(), try CheckpointSessionKey.random()) } catch {
            throw HostDaemonError(.system, error.message, cause: error)
        }
    }

    private static let base = EpochIdentity(generation: 0, sessionNonce: 0, epoch: 0)

    /// Answers the peer's hello when its stream comes.
    static func expect(_ session: CheckpointSessionID, key: CheckpointSessionKey, in keys: SessionKeys) {
        keys.expect(session, key: key) { stream, _ in
            // On the accepting thread: the answer is small and waits for nobody. A peer that is gone needs none.
            try? stream.send(.hello(WireMessage.Hello(role: .backup, base: base)), deadline: .now + .milliseconds(500))
        }
    }

    /// Opens the stream to a peer that expects it.
    static func open(
        _ session: CheckpointSessionID, key: CheckpointSessionKey, to address: HostAndPort
    ) throws(LinkError) {
        let deadline = ContinuousClock.now + .seconds(3)
        let stream = try SealedStream.connect(
            host: address.host, port: UInt16(address.port), session: session, key: key, deadline: deadline)
        defer { stream.shutdown() }
        try stream.send(.hello(WireMessage.Hello(role: .primary, base: base)), deadline: deadline)
        guard case .hello = try stream.receive(deadline: deadline) else {
            throw LinkError(.protocolViolation, "the peer did not answer the hello")
        }
    }
}
