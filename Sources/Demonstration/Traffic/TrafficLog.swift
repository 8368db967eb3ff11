import Synchronization

/// What one client has sent and seen, shared between its thread and the display.
final class TrafficLog: Sendable {
    private struct State {
        var record: ClientRecord
        /// Set by a stop request: when to give up waiting for outstanding replies.
        var drainUntil: UInt64?
    }

    private let state: Mutex<State>

    init(kind: ClientKind, client: UInt64) {
        var record = ClientRecord(kind: kind, client: client, sentAt: [], replies: [])
        // A minute of requests every 5 ms without a reallocation in the middle of a measurement.
        record.sentAt.reserveCapacity(16_384)
        record.replies.reserveCapacity(16_384)
        state = Mutex(State(record: record))
    }

    var record: ClientRecord { state.withLock { $0.record } }

    var progress: ClientProgress {
        state.withLock { state in
            ClientProgress(
                kind: state.record.kind, sent: state.record.sentAt.count, received: state.record.replies.count,
                lastReplyAt: state.record.replies.last?.receivedAt ?? 0, connectionError: state.record.connectionError)
        }
    }

    var drainUntil: UInt64? { state.withLock { $0.drainUntil } }

    /// Requests without a reply so far.
    var outstanding: Int { state.withLock { $0.record.sentAt.count - $0.record.replies.count } }

    func requestStop(drainUntil deadline: UInt64) { state.withLock { $0.drainUntil = deadline } }

    /// Notes the next request and returns its bytes.
    func nextRequest(at instant: UInt64) -> [UInt8] {
        state.withLock { state in
            state.record.sentAt.append(instant)
            return ServiceProtocol.request(client: state.record.client, number: UInt64(state.record.sentAt.count))
        }
    }

    /// Notes a reply (`ServiceProtocol.replyLength` bytes).
    func received(_ bytes: ArraySlice<UInt8>, at instant: UInt64) {
        state.withLock { state in
            let (client, reply) = ServiceProtocol.reply(bytes, at: instant)
            guard client == state.record.client, 1...UInt64(max(state.record.sentAt.count, 1)) ~= reply.request else {
                state.record.foreignReplies += 1
                return
            }
            state.record.replies.append(reply)
        }
    }

    /// Notes a datagram that is no reply at all.
    func receivedMalformed() { state.withLock { $0.record.foreignReplies += 1 } }

    func broke(_ reason: String) { state.withLock { $0.record.connectionError = reason } }
}
