/// What only the daemons can know of a run. Unknown values stay nil and are printed as `null`.
public struct DaemonFigures: Sendable {
    /// From the host's death to the backup's decision, milliseconds.
    public var detectionMilliseconds: Double?
    /// The part of it from the suspicion to the arbiter's answer, milliseconds.
    public var decisionMilliseconds: Double?
    /// From the decision to the running guest, milliseconds.
    public var takeoverMilliseconds: Double?
    public var checkpoints: Int
    /// QEMU's STOP to RESUME, milliseconds.
    public var pauseMilliseconds: Quantiles?
    /// Cut to cut, milliseconds.
    public var epochMilliseconds: Quantiles?
    /// Dirty pages per epoch, median.
    public var dirtyPages: Double?

    public init(
        detectionMilliseconds: Double? = nil, takeoverMilliseconds: Double? = nil, checkpoints: Int = 0,
        pauseMilliseconds: Quantiles? = nil, epochMilliseconds: Quantiles? = nil, dirtyPages: Double? = nil
    ) {
        self.detectionMilliseconds = detectionMilliseconds
        self.takeoverMilliseconds = takeoverMilliseconds
        self.checkpoints = checkpoints
        self.pauseMilliseconds = pauseMilliseconds
        self.epochMilliseconds = epochMilliseconds
        self.dirtyPages = dirtyPages
    }
}
