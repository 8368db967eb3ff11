/// What the output gate tagged at one cut: the frames that the guest sent since the previous cut.
public struct SealedOutput: Sendable, Equatable {
    /// The epoch whose commit lets these frames leave.
    public let epoch: UInt64
    /// Frames tagged with `epoch` by this cut.
    public let frames: Int
    /// Bytes of those frames, without the virtio-net headers.
    public let bytes: Int
    /// True when the ring was full and frames of this epoch may still wait in the kernel. They will be tagged with a later epoch, which is
    /// late but safe.
    public let overflowed: Bool

    public init(epoch: UInt64, frames: Int, bytes: Int, overflowed: Bool) {
        self.epoch = epoch
        self.frames = frames
        self.bytes = bytes
        self.overflowed = overflowed
    }
}
