internal import Links
internal import Synchronization
internal import UnderstudyCore

/// The checkpoint streams that this host expects, by session.
final class SessionKeys: Sendable {
    private struct Expected: Sendable {
        let key: CheckpointSessionKey
        let accepted: @Sendable (SealedStream, WireMessage.Hello) -> Void
    }

    private let expected = Mutex<[CheckpointSessionID: Expected]>([:])

    func expect(
        _ session: CheckpointSessionID, key: CheckpointSessionKey, accepted: @escaping @Sendable (SealedStream, WireMessage.Hello) -> Void
    ) {
        expected.withLock { $0[session] = Expected(key: key, accepted: accepted) }
    }

    func forget(_ session: CheckpointSessionID) { expected.withLock { expected in _ = expected.removeValue(forKey: session) } }

    func key(of session: CheckpointSessionID) -> CheckpointSessionKey? { expected.withLock { $0[session]?.key } }

    /// A session's stream is accepted once; a second connection with the same name is closed.
    func accept(_ stream: SealedStream, _ hello: WireMessage.Hello) {
        guard let entry = expected.withLock({ $0.removeValue(forKey: stream.session) }) else {
            stream.shutdown()
            return
        }
        entry.accepted(stream, hello)
    }
}
