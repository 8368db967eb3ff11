/// One request of a client of the daemon's Unix socket: one line of JSON.
///
/// The daemon answers with zero or more `HostReply` lines whose last one is `result` or `error`.
public enum HostRequest: Codable, Sendable, Equatable {
    case check(CheckRequest)
    case protect(ProtectRequest)
    case unprotect(name: String)
    case switchover(SwitchoverRequest)
    case set(SetRequest)
    case status
    case events(follow: Bool)
    case wait(name: String, state: String, timeoutSeconds: Double)
    case definitions
    case startMachine(StartMachineRequest)
    case stopMachine(StopMachineRequest)
    case removeDefinition(name: String)
}

/// What `understudy protect` asks for.
public struct ProtectRequest: Codable, Sendable, Equatable {
    /// The name under which the virtual machine is known to both hosts and to the arbiter.
    public var name: String
    /// The Unix socket of a QMP monitor of the running QEMU; nil for a machine that this host took over before.
    public var qmp: String?
    /// The name of the backup host, one of the configured peers.
    public var backup: String
    /// Length of an epoch in milliseconds; 0: it finds itself.
    public var intervalMilliseconds: Double
    /// Lets the guest's output leave before the backup has its epoch. Gives up the safety of the whole system.
    public var unsafeNoOutputCommit: Bool
    /// Where the backup shall keep the copies of disks, by the disks' names; it chooses a place for those that are not named.
    public var diskPaths: [String: String]?
    /// Accepts that the copies overwrite files that hold something else.
    public var overwriteDisks: Bool?
    /// Both hosts see the same images of the disks: nothing is copied, and the guest's writes are held back until their epochs are committed.
    public var sharedDisks: Bool?
    /// How long a commit may take when output comes after a quiet time, in milliseconds; nil: as the host's configuration says.
    public var latencyTargetMilliseconds: Double?
    /// Percent of the time that the guest may stand still; nil: as the host's configuration says.
    public var overheadTargetPercent: Double?
    /// How checkpoints are compressed; nil: as the daemon's configuration says.
    public var compression: CompressionMode?

    public init(name: String, qmp: String?, backup: String, intervalMilliseconds: Double, unsafeNoOutputCommit: Bool = false) {
        self.name = name
        self.qmp = qmp
        self.backup = backup
        self.intervalMilliseconds = intervalMilliseconds
        self.unsafeNoOutputCommit = unsafeNoOutputCommit
    }
}

/// What `understudy check` asks for: this host alone, or this host and a machine that might be protected.
public struct CheckRequest: Codable, Sendable, Equatable {
    public var qmp: String?
    public var backup: String?

    public init(qmp: String? = nil, backup: String? = nil) {
        self.qmp = qmp
        self.backup = backup
    }
}

/// One line of the daemon's answer.
public enum HostReply: Codable, Sendable, Equatable {
    case progress(SynchronisationProgress)
    case event(HostEvent)
    case result(HostResult)
    case error(HostAPIError)
}

/// The last line of a successful answer.
public enum HostResult: Codable, Sendable, Equatable {
    case done
    case status(HostStatus)
    case machine(MachineStatus)
    case switchover(SwitchoverReport)
    case check(CheckReport)
    case definitions([MachineDefinitionStatus])
    case definition(MachineDefinitionStatus)
}
