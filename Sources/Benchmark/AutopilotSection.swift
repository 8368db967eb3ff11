internal import Demonstration
internal import Glibc
internal import HostAPI

/// What protection with epochs that find their length adds to a request to an idle guest, and what it costs while nobody asks.
///
/// Follows `ProtectionSection` on its guest: round trips unprotected, then protected.
struct AutopilotSection {
    let options: BenchmarkOptions
    let tell: (String) -> Void
    private static let machine = ProtectionSection.machine
    /// Milliseconds between requests, on average.
    private static let spacing: UInt64 = 40

    func measure(_ guest: LabGuest, _ daemons: LabDaemons, in lab: Lab, into report: inout BenchmarkReport) throws {
        _ = try daemons.first.perform(.unprotect(name: Self.machine))
        tell("\(options.requests) requests to an idle guest, unprotected, then with automatic epochs")
        let plain = try trips(lab)
        _ = try daemons.first.perform(
            .protect(ProtectRequest(name: Self.machine, qmp: guest.qmp, backup: lab.host2.name, intervalMilliseconds: 0)))
        try measureIdle(daemons, into: &report)
        let protected = try trips(lab)
        guard let (half, most) = plain.quantile(0.5).flatMap({ half in plain.quantile(0.99).map { (half, $0) } }) else {
            throw BenchmarkError("the idle guest answered nothing")
        }
        report.promise("autopilot_added_p50_ms", protected.quantile(0.5).map { $0 - half }, atMost: 6)
        report.promise("autopilot_added_p99_ms", protected.quantile(0.99).map { $0 - most }, atMost: 15)
        report.tell("autopilot_unprotected_p50_ms", half)
        report.tell("autopilot_unprotected_p99_ms", most)
    }

    private func trips(_ lab: Lab) throws -> Samples {
        var samples = Samples()
        for trip in try lab.roundTrips(options.requests, spacing: Self.spacing) { samples.add(trip) }
        return samples
    }

    /// Processor time of each host's daemon while nobody asks the guest anything.
    private func measureIdle(_ daemons: LabDaemons, into report: inout BenchmarkReport) throws {
        // The first epochs have the length from which the autopilot begins.
        usleep(2_000_000)
        let both = [daemons.first, daemons.second]
        let epoch = try daemons.first.machine(Self.machine)?.epoch ?? 0
        let before = try both.map { daemon throws(BenchmarkError) in try ProcessUse(of: daemon.process.pid) }
        let begun = MonotonicTime.now()
        sleep(options.idleSeconds)
        let seconds = Double(MonotonicTime.now() - begun) / 1e9
        for (daemon, use) in zip(both, before) {
            let share = (try ProcessUse(of: daemon.process.pid).seconds - use.seconds) / seconds * 100
            report.promise("autopilot_idle_processor_\(daemon.name)_percent", share, atMost: 3)
        }
        report.tell("autopilot_idle_epochs_per_s", Double((try daemons.first.machine(Self.machine)?.epoch ?? 0) - epoch) / seconds)
    }
}
