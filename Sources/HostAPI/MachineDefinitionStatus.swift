/// What `understudy vm start` asks for.
public struct StartMachineRequest: Codable, Sendable, Equatable {
    /// The machine; nil when `definition` says it.
    public var name: String?
    /// The text of a definition file (TOML), which the daemon keeps; nil to start one that it has.
    public var definition: String?
    /// A machine that runs here already is no error.
    public var unlessRunning: Bool
    /// Give up the checkpoint that a silent backup may still hold of an earlier run on this host.
    public var discard: Bool

    public init(name: String?, definition: String?, unlessRunning: Bool = false, discard: Bool = false) {
        self.name = name
        self.definition = definition
        self.unlessRunning = unlessRunning
        self.discard = discard
    }
}

/// What `understudy vm stop` asks for.
public struct StopMachineRequest: Codable, Sendable, Equatable {
    public var name: String
    /// How long the guest may take to power down.
    public var timeoutSeconds: Double
    /// End QEMU when the guest does not power down in time.
    public var force: Bool

    public init(name: String, timeoutSeconds: Double, force: Bool) {
        self.name = name
        self.timeoutSeconds = timeoutSeconds
        self.force = force
    }
}

/// A machine that a host has the definition of: one element of `understudy vm list --json`.
public struct MachineDefinitionStatus: Codable, Sendable, Equatable {
    public var name: String
    /// QEMU's program.
    public var qemu: String
    /// The host that shall protect it.
    public var backup: String?
    /// Length of an epoch in milliseconds.
    public var intervalMilliseconds: Double
    /// Started when this host boots.
    public var autostart: Bool
    /// QEMU's process on this host; nil while it does not run here.
    public var pid: Int32?
    /// The monitor's socket that was added for the daemon; nil while it does not run here.
    public var qmp: String?
    /// How long the guest shall still boot undisturbed before it is protected; nil when it has had its time or does not run here.
    public var settleSeconds: Double?
    /// One sentence for the operator.
    public var message: String

    public init(
        name: String, qemu: String, backup: String?, intervalMilliseconds: Double, autostart: Bool, pid: Int32?, qmp: String?,
        message: String
    ) {
        self.name = name
        self.qemu = qemu
        self.backup = backup
        self.intervalMilliseconds = intervalMilliseconds
        self.autostart = autostart
        self.pid = pid
        self.qmp = qmp
        self.message = message
    }
}
