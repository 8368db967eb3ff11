/// How much a benchmark measures.
public struct BenchmarkOptions: Sendable {
    /// The folder of `understudyd` and `understudy-inject`.
    public var programs: String
    /// QEMU's program.
    public var qemu: String
    /// Fewer rounds and one takeover: within three minutes.
    public var quick: Bool
    /// Where the laboratories live; apart from the demonstration's, so that both may be used.
    public var stateFolder = "/run/understudy-bench"
    /// Checkpoints per number of dirty pages, after five that do not count.
    public var rounds: Int
    /// Seconds over which processor time is taken.
    public var idleSeconds: UInt32
    /// Single requests to an idle guest, whose round trips are taken.
    public var requests: Int
    /// Turns of the disk's loads, and milliseconds of each load.
    public var diskTurns: Int
    public var diskMilliseconds: UInt64
    /// Planned moves of a guest under KVM, of which medians are taken.
    public var switchovers: Int
    /// Demonstrations, of which medians are taken.
    public var takeovers: Int

    public init(programs: String, qemu: String = "qemu-system-x86_64", quick: Bool) {
        self.programs = programs
        self.qemu = qemu
        self.quick = quick
        rounds = quick ? 25 : 60
        idleSeconds = quick ? 10 : 15
        requests = quick ? 100 : 300
        diskTurns = quick ? 1 : 5
        diskMilliseconds = quick ? 500 : 1000
        switchovers = quick ? 3 : 11
        takeovers = quick ? 1 : 5
    }

    var daemon: String { "\(programs)/understudyd" }
    var injector: String { "\(programs)/understudy-inject" }
}
