internal import Demonstration
internal import Glibc
internal import HostAPI

/// Planned moves of a guest under KVM, back and forth: how long the world hears nothing of it.
///
/// The guest is the counting firmware, which sends a frame per round; a Linux guest under TCG would measure how long TCG takes to
/// translate its code anew (`scripts/bench-cold-start`).
struct SwitchoverSection {
    let options: BenchmarkOptions
    let tell: (String) -> Void
    private static let machine = "bench-counter"

    /// Whether this machine can run the guest.
    static var isPossible: Bool { access("/dev/kvm", R_OK | W_OK) == 0 }

    func measure(into report: inout BenchmarkReport) throws {
        guard options.switchovers > 0, Self.isPossible else {
            if options.switchovers > 0 { tell("no /dev/kvm: switchovers are not measured") }
            report.promise("switchover_gap_ms", nil, atMost: 60)
            return
        }
        try options.inLaboratory { lab, daemons in
            try measure(daemons, in: lab, into: &report)
        }
    }

    private func measure(_ daemons: LabDaemons, in lab: Lab, into report: inout BenchmarkReport) throws {
        let guest = try CounterGuest.start(in: lab, qemu: options.qemu)
        let sniffer = try lab.startSniffer()
        var (gaps, usual, moves) = (Samples(), Samples(), Samples())
        var (from, to) = ((daemon: daemons.first, host: lab.host1), (daemon: daemons.second, host: lab.host2))
        for turn in 1...options.switchovers {
            tell("switchover \(turn) of \(options.switchovers): a guest under KVM moves under its own traffic")
            let request = ProtectRequest(
                name: Self.machine, qmp: turn == 1 ? guest.qmp : nil, backup: to.host.name, intervalMilliseconds: 25)
            _ = try from.daemon.perform(.protect(request))
            let quiet = MonotonicTime.now()
            usleep(1_000_000)
            let begun = MonotonicTime.now()
            let answer = try from.daemon.perform(.switchover(SwitchoverRequest(name: Self.machine)))
            guard case .switchover(let done) = answer else { throw BenchmarkError("the switchover answered \(answer)") }
            let end = MonotonicTime.now()
            usleep(700_000)
            gaps.add(Self.longestGap(sniffer, begun - 200_000_000...end + 500_000_000))
            usual.add(Self.longestGap(sniffer, quiet...begun))
            moves.add(done.gapMilliseconds)
            swap(&from, &to)
        }
        sniffer.stop()
        report.promise("switchover_gap_ms", gaps.median, atMost: 60)
        report.tell("longest_gap_without_switchover_ms", usual.median)
        report.tell("switchover_stop_to_running_ms", moves.median)
    }

    /// The longest time between two frames of the guest, from whichever host, in milliseconds.
    private static func longestGap(_ sniffer: FrameSniffer, _ span: ClosedRange<UInt64>) -> Double? {
        let ports = [LabAddresses.switchPortOfHost1, LabAddresses.switchPortOfHost2]
        let times = ports.flatMap { sniffer.sighting(at: $0).times }.filter(span.contains).sorted()
        return zip(times, times.dropFirst()).map { Double($1 - $0) / 1e6 }.max()
    }
}
