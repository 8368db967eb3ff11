/// The instants of a run, `MonotonicTime` nanoseconds; nil for what did not happen.
public struct RunTimes: Sendable {
    /// When `protect` was asked for: ping-pong replies before it are the unprotected baseline.
    public var protectRequestedAt: UInt64?
    /// When protection was complete: ping-pong requests after it count for the added round-trip time.
    public var protectedAt: UInt64?
    /// When the first host died (`HostDeath.linksDownAt`).
    public var diedAt: UInt64?
    /// Last guest frame that came out of the old host (`FrameSniffer`).
    public var lastFrameOfOldHostAt: UInt64?
    /// First guest frame that came out of the new host (`FrameSniffer`).
    public var firstFrameOfNewHostAt: UInt64?

    public init(
        protectRequestedAt: UInt64? = nil, protectedAt: UInt64? = nil, diedAt: UInt64? = nil,
        lastFrameOfOldHostAt: UInt64? = nil, firstFrameOfNewHostAt: UInt64? = nil
    ) {
        self.protectRequestedAt = protectRequestedAt
        self.protectedAt = protectedAt
        self.diedAt = diedAt
        self.lastFrameOfOldHostAt = lastFrameOfOldHostAt
        self.firstFrameOfNewHostAt = firstFrameOfNewHostAt
    }
}
