public import UnderstudyCore

/// What an output relay holds now and did so far.
public struct OutputRelayStatistics: Sendable, Equatable {
    /// Frames held now.
    public var heldFrames: Int
    /// Bytes of the frames held now.
    public var heldBytes: Int
    /// Frames released so far.
    public var releasedFrames: UInt64
    /// Bytes released so far.
    public var releasedBytes: UInt64
    /// Guest frames that the kernel dropped before the relay could read them (queue or ring full).
    public var droppedFrames: UInt64
    /// Frames that the kernel refused at release.
    public var refusedFrames: UInt64
    /// Released frames that were not yet seen at the guest tap's ingress: 0 but for moments, else they were lost in the kernel.
    public var undeliveredFrames: UInt64
    /// Age in nanoseconds of the oldest frame held; nil when none is.
    public var oldestHeldAge: UInt64?
    /// When the last frame was released, in nanoseconds of CLOCK_MONOTONIC; nil when none was.
    public var lastReleaseTime: UInt64?
    /// How long the released frames were held: the relay's share of the added round trip time.
    public var holdTimes: HoldTimeHistogram
}
