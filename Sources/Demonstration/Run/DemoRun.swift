internal import Glibc
internal import HostAPI

/// The demonstration: a guest under live connections, and its host dies.
public struct DemoRun {
    private let options: DemoOptions
    let lab: Lab
    let tell: (String) -> Void
    /// The name under which the demo's guest is protected.
    public static let machine = "demo"

    /// - Parameter tell: takes a line for the spectator.
    public init(_ options: DemoOptions, in lab: Lab, tell: @escaping (String) -> Void) {
        self.options = options
        self.lab = lab
        self.tell = tell
    }

    /// Plays everything and judges it.
    public func play() throws -> Verdict {
        try lab.startArbiter()
        let daemons = try LabDaemons.start(in: lab, program: options.daemon)
        tell("two hosts, a client and an arbiter in four network namespaces; two daemons answer")
        let guest = try startGuest()
        let sniffer = try lab.startSniffer()
        let clients = try lab.startClients()
        wait(seconds: 1.5)
        var times = RunTimes()
        times.protectRequestedAt = MonotonicTime.now()
        try protect(guest, daemons)
        times.protectedAt = MonotonicTime.now()
        let before = try watch(daemons, seconds: momentOfDeath())
        let death = try lab.killHost1(pids: [guest.process.pid, daemons.first.process.pid])
        times.diedAt = death.linksDownAt
        tell("host1 is dead: its links are down, QEMU and understudyd got SIGKILL")
        let after = try awaitTakeover(daemons)
        wait(seconds: 3)
        let records = clients.stop()
        let sightings = sniffer.stop()
        times.lastFrameOfOldHostAt = sightings[LabAddresses.switchPortOfHost1]?.last
        times.firstFrameOfNewHostAt = sightings[LabAddresses.switchPortOfHost2]?.first(after: death.linksDownAt)
        let chain = try lab.fetchChain()
        let disk = options.hasDisk ? try readDisk(of: before) : nil
        return Verdict.judge(
            RunRecord(
                clients: records, chain: chain, times: times, daemons: figures(before: before, after: after, death: death.linksDownAt),
                qemu: before.qemu?.version ?? "unknown", seed: options.seed, disk: disk))
    }

    private func startGuest() throws -> LabGuest {
        var launch = GuestLaunch(image: try GuestImage.cached(), qemu: options.qemu, dirtyPages: options.dirtyPages)
        if options.hasDisk { launch.disks = [try makeDisk()] }
        let guest = try lab.startGuest(launch)
        let boot = try guest.waitUntilReady()
        tell(
            "the guest has booted on host1 in \(Int(boot)) ms and rewrites \(options.dirtyPages) pages every 25 ms\(options.hasDisk ? "; it writes every request to its disk, with fsync, before it replies" : "")"
        )
        return guest
    }

    private func protect(_ guest: LabGuest, _ daemons: LabDaemons) throws {
        let request = ProtectRequest(
            name: Self.machine, qmp: guest.qmp, backup: lab.host2.name, intervalMilliseconds: options.intervalMilliseconds,
            unsafeNoOutputCommit: options.unsafeNoOutputCommit)
        tell(
            "$ understudy protect \(Self.machine) --qmp \(guest.qmp) --backup \(lab.host2.name) --interval \(Int(options.intervalMilliseconds))ms"
        )
        let begun = MonotonicTime.now()
        _ = try daemons.first.perform(.protect(request)) { reply in
            if case .progress(let progress) = reply {
                tell(
                    "  \(progress.phase), round \(progress.round): \(progress.sentBytes >> 20) MiB sent, \(Int(progress.bytesPerSecond) >> 20) MiB/s"
                )
            }
        }
        tell(
            "protected after \((MonotonicTime.now() - begun) / 1_000_000) ms\(options.unsafeNoOutputCommit ? ", with the output gate OPEN" : "")"
        )
    }

    /// Between 2 and 5 seconds, from the seed (splitmix64).
    private func momentOfDeath() -> Double {
        var value = options.seed &+ 0x9e37_79b9_7f4a_7c15
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        value ^= value >> 31
        return 2 + Double(value % 3_000_000) / 1e6
    }

    private func watch(_ daemons: LabDaemons, seconds: Double) throws -> MachineStatus {
        let end = MonotonicTime.now() + UInt64(seconds * 1e9)
        var shown: UInt64 = 0
        var last: MachineStatus?
        while MonotonicTime.now() < end {
            if MonotonicTime.now() - shown > 500_000_000 {
                shown = MonotonicTime.now()
                last = try daemons.first.machine(Self.machine)
                if let last { show(last, on: "host1") }
            }
            usleep(1_000)
        }
        guard let last else { throw DemonstrationError(.process, "understudyd on host1 does not know the machine") }
        return last
    }

    private func show(_ status: MachineStatus, on host: String) {
        let pause = status.checkpoints.map { milliseconds($0.pauseMilliseconds.p50) } ?? "-"
        let dirty = status.checkpoints.map { "\(Int($0.dirtyPages.p50))" } ?? "-"
        let held = status.output.map { "\($0.heldFrames)" } ?? "-"
        tell(
            "  active on \(host), \(status.state.rawValue): epoch \(status.epoch), pause \(pause) ms, \(dirty) dirty pages, \(held) frames held"
        )
    }

    private func milliseconds(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

    private func awaitTakeover(_ daemons: LabDaemons) throws -> MachineStatus {
        for _ in 0..<1000 {
            if let status = try daemons.second.machine(Self.machine), let takeover = status.takeover, status.state == .unprotected {
                tell(
                    "host2 took over from epoch \(status.epoch): decided, then running \(milliseconds(takeover.activationMilliseconds)) ms later"
                )
                return status
            }
            usleep(10_000)
        }
        throw DemonstrationError(.timeout, "host2 did not take over within 10 s: see its log in \(lab.host2.folder)")
    }

    private func figures(before: MachineStatus, after: MachineStatus, death: UInt64) -> DaemonFigures {
        func quantiles(_ value: HostAPI.Quantiles?) -> Quantiles? { value.map { Quantiles(p50: $0.p50, p99: $0.p99) } }
        let decided = after.takeover?.decidedAtNanoseconds ?? 0
        var figures = DaemonFigures(
            detectionMilliseconds: decided > death ? Double(decided - death) / 1e6 : nil,
            takeoverMilliseconds: after.takeover?.activationMilliseconds,
            checkpoints: Int(before.checkpoints?.count ?? 0), pauseMilliseconds: quantiles(before.checkpoints?.pauseMilliseconds),
            epochMilliseconds: quantiles(before.checkpoints?.epochMilliseconds), dirtyPages: before.checkpoints?.dirtyPages.p50)
        figures.decisionMilliseconds = after.takeover?.decisionMilliseconds
        return figures
    }

    private func wait(seconds: Double) { usleep(useconds_t(seconds * 1e6)) }
}
