/// One device state that came complete through the gate.
public struct SavedState: Sendable, Equatable {
    /// Bytes of the state at the start of the arena; they begin with `QEVM`.
    public var byteCount: Int
    /// QEMU's own time of the stop (event `STOP`), microseconds since 1970.
    public var stoppedAtMicroseconds: Int64?
    /// QEMU's own time of the resumption (event `RESUME`), microseconds since 1970.
    public var resumedAtMicroseconds: Int64?

    public init(byteCount: Int, stoppedAtMicroseconds: Int64?, resumedAtMicroseconds: Int64?) {
        self.byteCount = byteCount
        self.stoppedAtMicroseconds = stoppedAtMicroseconds
        self.resumedAtMicroseconds = resumedAtMicroseconds
    }

    /// How long the guest stood still, by QEMU's clock: the host's time of day, which may jump between the two events.
    public var pauseMicroseconds: Int64? {
        guard let stoppedAtMicroseconds, let resumedAtMicroseconds else { return nil }
        let (pause, overflow) = resumedAtMicroseconds.subtractingReportingOverflow(stoppedAtMicroseconds)
        return overflow ? nil : pause
    }
}

/// How the wait for the cut ended.
public enum CutOutcome: Sendable, Equatable {
    /// The guest is stopped, its disks are flushed, and it stays so until the gate is drained or abandoned.
    case cut
    /// QEMU refused the save; the guest runs on. The gate must be renewed.
    case refused(reason: String)
}
