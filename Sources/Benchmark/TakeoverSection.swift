internal import Demonstration
internal import HostAPI
internal import Glibc

/// Whole demonstrations: what the death of a host and the hold of its output cost the clients.
struct TakeoverSection {
    let options: BenchmarkOptions
    let tell: (String) -> Void

    func measure(into report: inout BenchmarkReport) throws {
        var samples: [String: Samples] = [:]
        var wrong = 0.0
        for run in 0..<options.takeovers {
            tell("takeover \(run + 1) of \(options.takeovers): a guest under live connections loses its host")
            let begun = MonotonicTime.now()
            let verdict = try play()
            samples["demonstration_s", default: Samples()].add(Double(MonotonicTime.now() - begun) / 1e9)
            for (name, value) in Self.quantities(of: verdict) { samples[name, default: Samples()].add(value) }
            wrong += Self.wrong(verdict)
        }
        for (name, target) in Self.promises { report.promise(name, samples[name]?.median, atMost: target) }
        report.promise(
            "connections_broken_replies_lost_doubled_reordered_invented", options.takeovers > 0 ? wrong : nil, atMost: 0)
        for name in [
            "detection_ms", "decision_ms", "pingpong_gap_ms", "busy_pause_ms", "busy_dirty_pages", "added_rtt_p99_ms", "epoch_p99_ms",
        ] {
            report.tell(name, samples[name]?.median)
        }
    }

    private static let promises: [(String, Double)] = [
        ("outage_ms", 200), ("client_gap_ms", 300), ("takeover_ms", 25), ("epoch_ms", 30), ("added_rtt_ms", 30), ("demonstration_s", 45),
    ]

    private func play() throws -> Verdict {
        let lab = try Lab.create(stateFolder: options.stateFolder, prefix: "usbench")
        defer { Self.destroy(lab) }
        return try DemoRun(DemoOptions(daemon: options.daemon, qemu: options.qemu, hasDisk: false), in: lab, tell: { _ in }).play()
    }

    /// A laboratory that cannot be removed now is removed by its guard at the end of this process.
    private static func destroy(_ lab: Lab) { try? lab.destroy() }

    private static func quantities(of verdict: Verdict) -> [(String, Double?)] {
        [
            ("outage_ms", verdict.outageMilliseconds), ("client_gap_ms", verdict.clientGapMilliseconds),
            ("pingpong_gap_ms", verdict.pingpongGapMilliseconds), ("takeover_ms", verdict.daemons.takeoverMilliseconds),
            ("detection_ms", verdict.daemons.detectionMilliseconds),
            ("decision_ms", verdict.daemons.decisionMilliseconds), ("epoch_ms", verdict.daemons.epochMilliseconds?.p50),
            ("epoch_p99_ms", verdict.daemons.epochMilliseconds?.p99), ("added_rtt_ms", verdict.addedRoundTripMilliseconds?.p50),
            ("added_rtt_p99_ms", verdict.addedRoundTripMilliseconds?.p99), ("busy_pause_ms", verdict.daemons.pauseMilliseconds?.p50),
            ("busy_dirty_pages", verdict.daemons.dirtyPages),
        ]
    }

    private static func wrong(_ verdict: Verdict) -> Double {
        Double((verdict.connectionSurvived ? 0 : 1) + verdict.lost + verdict.duplicated + verdict.reordered + verdict.chainViolations)
    }
}
