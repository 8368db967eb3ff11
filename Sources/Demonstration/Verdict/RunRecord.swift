/// Everything the verdict is judged from.
public struct RunRecord: Sendable {
    public var clients: [ClientRecord]
    public var chain: SurvivorChain
    public var times: RunTimes
    public var daemons: DaemonFigures
    /// QEMU's version.
    public var qemu: String
    /// The survivor's disk; nil for a guest without one.
    public var disk: DiskRecord?
    /// The seed of the moment of death.
    public var seed: UInt64

    public init(
        clients: [ClientRecord], chain: SurvivorChain, times: RunTimes, daemons: DaemonFigures, qemu: String, seed: UInt64,
        disk: DiskRecord? = nil
    ) {
        self.clients = clients
        self.chain = chain
        self.times = times
        self.daemons = daemons
        self.qemu = qemu
        self.seed = seed
        self.disk = disk
    }
}
