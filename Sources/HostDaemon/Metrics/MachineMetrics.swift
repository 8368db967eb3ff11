internal import HostAPI

/// What a machine's session counts for Prometheus, besides its status.
struct MachineMetrics: Sendable {
    var status: MachineStatus
    /// Nil on a backup.
    var checkpoints: UInt64?
    var histograms: CheckpointHistograms?
    /// How many epochs ended for each reason.
    var decisions: [String: UInt64] = [:]
    var sentBytes: UInt64?
    var deviceStateBytes: Int?
    /// What the guest's clock has lost.
    var clockLostSeconds: Double?
    /// Seconds since the last epoch was committed; nil before the first.
    var lastCommitAge: Double?
    var output: OutputStatistics?
}
