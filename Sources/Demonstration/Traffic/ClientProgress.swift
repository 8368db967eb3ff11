/// What a client has done so far, for the live display.
public struct ClientProgress: Sendable {
    public var kind: ClientKind
    public var sent: Int
    public var received: Int
    /// `MonotonicTime` of the last reply, 0 before the first.
    public var lastReplyAt: UInt64
    public var connectionError: String?
}
