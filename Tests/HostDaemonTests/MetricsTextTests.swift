import Foundation
import HostAPI
import Testing

@testable import HostDaemon

@Suite struct MetricsTextTests {
    /// A host with a protected machine and a standby, whose words are as awkward as they may be.
    private static func metrics() -> HostMetrics {
        var web = MachineMetrics(status: MachineStatus(name: "web", role: .primary, state: .protected, protected: true, message: ""))
        web.checkpoints = 3
        web.sentBytes = 9_007_199_254_740
        web.deviceStateBytes = 78_941
        web.lastCommitAge = 0.0125
        var histograms = CheckpointHistograms()
        for pause in [0.0004, 0.0012, 7] { histograms.pause.add(pause) }
        web.histograms = histograms
        web.output = OutputStatistics(cards: [
            CardOutputStatistics(tap: "tap0", heldFrames: 1, heldBytes: 60, releasedFrames: 2, droppedFrames: 0, lastReleaseNanoseconds: 0)
        ])
        let standby = MachineMetrics(status: MachineStatus(name: "db", role: .backup, state: .standby, protected: false, message: ""))
        return HostMetrics(
            host: "al\"ph\\a\n", version: "0.1.0", startTime: 1_795_234_184.5, machines: [standby, web], arbiterReachable: true,
            certificates: [
                CertificateStatus(role: "authority", file: "a", subject: "s", notAfter: 2_000_000_000, daysLeft: 1, state: "valid")
            ], events: ["takeover": 2, "started": 1], takeovers: ["web": 2])
    }

    @Test func `a histogram's buckets add up and end with everything`() {
        let text = Self.metrics().text
        #expect(text.contains("understudy_machine_pause_seconds_bucket{machine=\"web\",role=\"primary\",le=\"0.0005\"} 1\n"))
        #expect(text.contains("understudy_machine_pause_seconds_bucket{machine=\"web\",role=\"primary\",le=\"0.0015\"} 2\n"))
        #expect(text.contains("understudy_machine_pause_seconds_bucket{machine=\"web\",role=\"primary\",le=\"1\"} 2\n"))
        #expect(text.contains("understudy_machine_pause_seconds_bucket{machine=\"web\",role=\"primary\",le=\"+Inf\"} 3\n"))
        #expect(text.contains("understudy_machine_pause_seconds_count{machine=\"web\",role=\"primary\"} 3\n"))
    }

    @Test func `a value on a bound belongs to that bound's bucket`() {
        var histogram = BucketHistogram(bounds: [1, 2])
        for value in [0, 1, 1.5, 2, 2.1] { histogram.add(value) }
        #expect(histogram.counts == [2, 2, 1])
        #expect(histogram.count == 5)
        #expect(histogram.sum == 6.6)
    }

    @Test func `counters keep their last digit and labels their quotes`() {
        let text = Self.metrics().text
        #expect(text.contains("understudy_machine_sent_bytes_total{machine=\"web\",role=\"primary\"} 9007199254740\n"))
        #expect(text.contains("understudy_build_info{host=\"al\\\"ph\\\\a\\n\",version=\"0.1.0\"} 1\n"))
        #expect(text.contains("process_start_time_seconds 1795234184.5\n"))
    }

    @Test func `both halves of a protected machine are protected, and exactly one state is set`() {
        let text = Self.metrics().text
        #expect(text.contains("understudy_machine_protected{machine=\"web\",role=\"primary\"} 1\n"))
        #expect(text.contains("understudy_machine_protected{machine=\"db\",role=\"backup\"} 1\n"))
        let set = text.split(separator: "\n").filter { $0.hasPrefix("understudy_machine_state{machine=\"web\"") && $0.hasSuffix(" 1") }
        #expect(set == ["understudy_machine_state{machine=\"web\",role=\"primary\",state=\"protected\"} 1"])
    }

    @Test func `a host without machines has no empty families`() {
        var metrics = Self.metrics()
        metrics.machines = []
        metrics.arbiterReachable = nil
        for line in metrics.text.split(separator: "\n") where !line.hasPrefix("#") { #expect(!line.contains("machine_pause")) }
        #expect(!metrics.text.contains("arbiter_reachable"))
    }

    @Test(.enabled(if: Promtool.path != nil, "promtool is not there: scripts/fetch-promtool fetches it"))
    func `promtool finds nothing to complain about, and something in a broken text`() throws {
        let (status, said) = try Promtool.check(Self.metrics().text)
        #expect(status == 0 && said.isEmpty, "\(said)")
        #expect(try Promtool.check(Self.metrics().text + "broken{ 1\n").status != 0)
    }
}

/// Prometheus's own check of the text format.
enum Promtool {
    static let path: String? = {
        let environment = ProcessInfo.processInfo.environment
        let cache = environment["UNDERSTUDY_CACHE"] ?? "\(environment["XDG_CACHE_HOME"] ?? "\(NSHomeDirectory())/.cache")/understudy"
        let places = (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/promtool" } + ["\(cache)/promtool"]
        return places.first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    static func check(_ text: String) throws -> (status: Int32, said: String) {
        let file = FileManager.default.temporaryDirectory.appending(path: "understudy-metrics-\(UUID().uuidString)")
        try Data(text.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try #require(path))
        process.arguments = ["check", "metrics"]
        process.standardInput = try FileHandle(forReadingFrom: file)
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, said)
    }
}
