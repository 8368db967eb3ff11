/// Everything that one client sent and saw.
public struct ClientRecord: Sendable {
    public var kind: ClientKind
    /// The client's identifier in its requests; unique within a run.
    public var client: UInt64
    /// When request `n` was sent (`MonotonicTime`), at index `n - 1`.
    public var sentAt: [UInt64]
    /// The replies in the order of their arrival.
    public var replies: [ReceivedReply]
    /// What broke the connection, nil when nothing did. A datagram client has none.
    public var connectionError: String?
    /// Replies that belong to another client or were malformed: never acceptable.
    public var foreignReplies: Int

    public init(
        kind: ClientKind, client: UInt64, sentAt: [UInt64], replies: [ReceivedReply],
        connectionError: String? = nil, foreignReplies: Int = 0
    ) {
        self.kind = kind
        self.client = client
        self.sentAt = sentAt
        self.replies = replies
        self.connectionError = connectionError
        self.foreignReplies = foreignReplies
    }
}
