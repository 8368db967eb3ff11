import Benchmark
import Foundation
import Glibc
import Testing

/// `understudy bench` finds everything that it measures; what the numbers are is no matter of a test.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct BenchmarkTests {
    @Test func everyQuantityOfAGuestIsMeasured() throws {
        let programs = URL(fileURLWithPath: Requirements.daemon).deletingLastPathComponent().path
        var options = BenchmarkOptions(programs: programs, qemu: Requirements.qemu, quick: true)
        options.stateFolder = Requirements.stateFolder
        (options.rounds, options.idleSeconds, options.takeovers) = (3, 1, 0)
        (options.diskMilliseconds, options.switchovers) = (100, access("/dev/kvm", R_OK | W_OK) == 0 ? 1 : 0)
        let report = try BenchmarkRun(options, tell: { _ in }).measure()
        // A laboratory that a busy machine did not give is no broken promise of the benchmark.
        if report.targets.contains(where: { $0.name.hasSuffix("_broke_off") }) { throw SurvivalFailure(report.text) }
        for pages in [0, 400, 10_000] {
            let ratio = report.targets.first { $0.name == "pause_ratio_\(pages)_pages" }
            #expect((ratio?.measured ?? 0) > 0, "\(report.text)")
            let dirty = report.figures.first { $0.name == "pause_\(pages)_pages_dirty" }
            #expect((dirty?.measured ?? -1) >= Double(pages), "\(report.text)")
        }
        for name in ["idle_processor_both_daemons_percent", "backup_daemon_memory_beyond_one_epoch_mib"] {
            #expect(report.targets.first { $0.name == name }?.measured != nil, "\(report.text)")
        }
        for name in ["disk_sequential_1m_slowdown_ratio", "disk_random_4k_fsync_slowdown_ratio", "disk_pause_growth_ms"] {
            #expect(report.targets.first { $0.name == name }?.measured != nil, "\(report.text)")
        }
        for name in ["scan_ms_per_gib", "synchronisation_mib_per_s", "idle_epochs_per_s", "largest_epoch_mib"] {
            #expect((report.figures.first { $0.name == name }?.measured ?? 0) > 0, "\(report.text)")
        }
        if options.switchovers > 0 {
            #expect(report.targets.first { $0.name == "switchover_gap_ms" }?.measured != nil, "\(report.text)")
        }
        #expect(!report.holds, "control: no takeover was measured, so its promises do not hold")
    }
}
