/// What left through the output gate in one release.
public struct ReleasedOutput: Sendable, Equatable {
    /// Frames handed to the bridge.
    public var frames: Int
    /// Bytes of those frames, without the virtio-net headers.
    public var bytes: Int
    /// Frames that the kernel refused as malformed and that were therefore dropped.
    public var refused: Int

    public init(frames: Int = 0, bytes: Int = 0, refused: Int = 0) {
        self.frames = frames
        self.bytes = bytes
        self.refused = refused
    }
}

extension ReleasedOutput {
    /// Adds what left in another release.
    public mutating func add(_ other: ReleasedOutput) {
        frames += other.frames
        bytes += other.bytes
        refused += other.refused
    }
}
