import Foundation
import Testing

@testable import Benchmark
@testable import understudy

@Suite struct BenchmarkReportTests {
    private func report() -> BenchmarkReport {
        var report = BenchmarkReport(qemu: "7.2.22", kernel: "6.18", processors: 2, loadBefore: 0.04, quick: true)
        report.promise("outage_ms", 157.12345, atMost: 200)
        report.promise("takeover_ms", nil, atMost: 25)
        report.tell("scan_ms_per_gib", 1.5)
        report.tell("missing", nil)
        return report
    }

    @Test func `the document is one line whose targets say what was measured, promised and kept`() {
        let targets =
            #""targets":[{"holds":true,"measured":157.123,"name":"outage_ms","target":200},{"holds":false,"measured":null,"name":"takeover_ms","target":25}]"#
        let text = Output.json(report())
        #expect(text.contains(targets), "\(text)")
        #expect(text.contains(#""figures":[{"measured":1.5,"name":"scan_ms_per_gib"}]"#) && !text.contains("\n"))
    }

    @Test func `what could not be measured does not hold`() {
        #expect(!report().holds)
        #expect(report().text.contains("takeover_ms              ?      25.00  DOES NOT HOLD"), "\(report().text)")
    }

    @Test func `a promise holds up to its target and not beyond`() {
        #expect(BenchmarkReport.Target(name: "x", measured: 25, target: 25).holds)
        #expect(!BenchmarkReport.Target(name: "x", measured: 25.001, target: 25).holds)
    }

    @Test func `the median is the middle sample`() {
        var samples = Samples()
        #expect(samples.median == nil)
        for value in [9.0, 1, 5] { samples.add(value) }
        #expect(samples.median == 5)
    }
}
