import Demonstration
import Glibc
import HostAPI
import Testing

/// The main job on `-accel kvm`, through both daemons: what the counting guest sends from the host to which it went goes on behind what it
/// sent from the first.
@Suite(
    .serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"),
    .enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm, readable and writable"))
struct KVMTakeoverTests {
    @Test func aGuestUnderKVMGoesOnCountingOnTheOtherHost() throws {
        let pair = try CounterLab()
        try pair.protect(on: pair.daemons.first, backup: pair.lab.host2, epochs: 40)
        _ = try pair.lab.killHost1(pids: [pair.guest.pid, pair.daemons.first.process.pid])
        try pair.wait("the takeover") { (try? pair.daemons.second.machine(CounterLab.machine))?.state == .unprotected }
        try pair.wait("100 frames of the survivor") { pair.sniffer.sighting(at: LabAddresses.switchPortOfHost2).frames > 100 }

        let sightings = pair.sniffer.stop()
        let before = try pair.counts(sightings[LabAddresses.switchPortOfHost1])
        let after = try pair.counts(sightings[LabAddresses.switchPortOfHost2])
        let all = before + after
        #expect(before.count > 20 && after.count > 20)
        #expect(zip(all, all.dropFirst()).allSatisfy(<), "no count was heard twice, and none goes back")
        let console = try pair.standbyConsole(pair.lab.host2)
        #expect(!console.contains("COUNTER-BROKEN") && console.contains("count "), "the survivor's memory fits its processor's state")
    }

    @Test func aGuestUnderKVMIsMovedWithoutALostFrame() throws {
        let pair = try CounterLab()
        try pair.protect(on: pair.daemons.first, backup: pair.lab.host2, epochs: 20)
        _ = try pair.daemons.first.perform(.switchover(SwitchoverRequest(name: CounterLab.machine, timeoutSeconds: 60)))
        try pair.wait("100 frames from the other host") { pair.sniffer.sighting(at: LabAddresses.switchPortOfHost2).frames > 100 }

        let sightings = pair.sniffer.stop()
        let before = try pair.counts(sightings[LabAddresses.switchPortOfHost1])
        let after = try pair.counts(sightings[LabAddresses.switchPortOfHost2])
        let all = before + after
        #expect(before.count > 20 && after.count > 20)
        #expect(zip(all, all.dropFirst()).allSatisfy { $0 + 1 == $1 }, "every count was heard once and in order")
    }

    /// What the world sees of a planned move under KVM, which translates no code: the longest time without a frame of the guest, which
    /// sends one per round. Proves nothing by itself: `UNDERSTUDY_MEASURE=1` runs it.
    @Test(.enabled(if: Requirements.isMeasuring, "measures only on request"))
    func theGapOfASwitchoverUnderKVM() throws {
        let pair = try CounterLab()
        var (gaps, moves, usual): ([Double], [Double], [Double]) = ([], [], [])
        var (here, there) = ((pair.daemons.first, pair.lab.host1), (pair.daemons.second, pair.lab.host2))
        for _ in 1...11 {
            try pair.protect(on: here.0, backup: there.1, epochs: 60)
            let quiet = MonotonicTime.now()
            try pair.wait("a second of frames") { MonotonicTime.now() > quiet + 1_000_000_000 }
            let begun = MonotonicTime.now()
            let answer = try here.0.perform(.switchover(SwitchoverRequest(name: CounterLab.machine, timeoutSeconds: 60)))
            guard case .switchover(let report) = answer else { throw SurvivalFailure("switchover: \(answer)") }
            let end = MonotonicTime.now()
            try pair.wait("a second of frames") { MonotonicTime.now() > end + 1_000_000_000 }
            gaps.append(longestGap(pair, begun - 200_000_000...end + 500_000_000))
            usual.append(longestGap(pair, quiet...begun))
            moves.append(report.gapMilliseconds)
            print("run: gap \(gaps.last ?? 0), without a move \(usual.last ?? 0), stop to running \(moves.last ?? 0) ms")
            swap(&here, &there)
        }
        for (name, samples) in [("gap", gaps), ("longest without a move", usual), ("stop to running", moves)] {
            let sorted = samples.sorted()
            print("\(name): median \(sorted[sorted.count / 2]) ms, \(sorted[0]) to \(sorted[sorted.count - 1]) ms")
        }
    }

    /// The longest time between two frames of the guest, from whichever host, in milliseconds.
    private func longestGap(_ pair: CounterLab, _ span: ClosedRange<UInt64>) -> Double {
        let ports = [LabAddresses.switchPortOfHost1, LabAddresses.switchPortOfHost2]
        let times = ports.flatMap { pair.sniffer.sighting(at: $0).times }.filter(span.contains).sorted()
        return zip(times, times.dropFirst()).map { Double($1 - $0) / 1e6 }.max() ?? .infinity
    }
}
