internal import Demonstration
internal import Glibc
internal import HostAPI
internal import HostDaemon
internal import UnderstudyCore

/// What the page codec does per second, against memcpy and QEMU's own delta encoder, on pages recorded from a guest; and what compression
/// leaves of a real guest's traffic.
struct CodecSection {
    let options: BenchmarkOptions
    let tell: (String) -> Void
    private static let machine = "bench-codec"
    /// 64 MiB: nothing of it stays in a cache between two rounds.
    private static let workingSet = 64 << 20
    private static let tracePages = 8_192

    func measure(into report: inout BenchmarkReport) throws {
        tell("page codec: zero pages")
        measureZeroes(&report)
        // Names of loads and pages that the guest rewrites in 25 ms.
        for (load, pages) in options.quick ? [("dirty", 440)] : [("dirty", 440), ("idle", 0)] {
            try options.inLaboratory { lab, daemons in
                tell("booting a guest with the load \"\(load)\"")
                let guest = try lab.startGuest(GuestLaunch(image: try GuestImage.cached(), qemu: options.qemu, dirtyPages: pages))
                _ = try guest.waitUntilReady()
                if load == "dirty" { try measureTrace(guest, &report) }
                try measureTraffic(load, guest, daemons, in: lab, &report)
            }
        }
    }

    private func measureZeroes(_ report: inout BenchmarkReport) {
        let source = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.workingSet, alignment: 4096)
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.workingSet, alignment: 4096)
        defer {
            source.deallocate()
            target.deallocate()
        }
        memset(source.baseAddress!, 0, source.count)
        memset(target.baseAddress!, 1, target.count)
        var (copying, looking) = (Samples(), Samples())
        for _ in 0..<15 {
            copying.add(seconds { memcpy(target.baseAddress!, source.baseAddress!, source.count) })
            var zeroes = 0
            looking.add(
                seconds {
                    for page in stride(from: 0, to: source.count, by: 4096) where isZeroPage(source.baseAddress! + page) { zeroes += 1 }
                })
            precondition(zeroes == source.count / 4096, "zero pages are zero")
        }
        report.promise("codec_zero_pages_time_against_memcpy_ratio", ratio(looking, copying), atMost: 1 / 1.5)
        report.tell("codec_zero_pages_gb_per_s", looking.median.map { Double(Self.workingSet) / $0 / 1e9 })
        report.tell("codec_memcpy_gb_per_s", copying.median.map { Double(Self.workingSet) / $0 / 1e9 })
    }

    private func measureTrace(_ guest: LabGuest, _ report: inout BenchmarkReport) throws {
        tell("page codec: recording pages")
        let trace = PageTrace(capacity: Self.tracePages)
        let probe = try PauseProbe(qmpPath: guest.qmp, injectorPath: options.injector, copyThreads: 1)
        for _ in 0..<200 where trace.count < trace.capacity {
            usleep(25_000)
            try probe.record(into: trace)
        }
        try probe.stop()
        report.tell("codec_trace_pages", Double(trace.count))
        guard trace.count > 0 else { throw BenchmarkError("the guest changed no page twice") }
        var bench = TraceBench(trace)
        bench.measureDeltas(&report)
        try bench.measurePacking(&report)
    }

    private func measureTraffic(
        _ load: String, _ guest: LabGuest, _ daemons: LabDaemons, in lab: Lab, _ report: inout BenchmarkReport
    ) throws {
        let request = ProtectRequest(name: Self.machine, qmp: guest.qmp, backup: lab.host2.name, intervalMilliseconds: 25)
        _ = try daemons.first.perform(.protect(request))
        for mode in CompressionMode.allCases { try measure(mode, load, daemons, &report) }
        // A link that a page codec is for. With whole pages, which fill it, protection was lost in the one run that tried.
        try lab.limitReplication(megabitsPerSecond: 100)
        for mode in CompressionMode.allCases where mode != .off { try measure(mode, "\(load)_100mbit", daemons, &report) }
        _ = try daemons.first.perform(.unprotect(name: Self.machine))
    }

    private func measure(_ mode: CompressionMode, _ load: String, _ daemons: LabDaemons, _ report: inout BenchmarkReport) throws {
        tell("traffic of the load \"\(load)\" with compression \(mode.rawValue)")
        _ = try daemons.first.perform(.set(SetRequest(name: Self.machine, compression: mode)))
        // References that are missing after the mode `off` come back meanwhile.
        usleep(1_000_000)
        let before = try daemons.protectedMachine(Self.machine)
        sleep(2)
        let after = try daemons.protectedMachine(Self.machine)
        guard let first = before.compression, let last = after.compression, last.dirtyBytes > first.dirtyBytes else { return }
        let share = Double(last.wireBytes - first.wireBytes) / Double(last.dirtyBytes - first.dirtyBytes)
        report.tell("codec_\(load)_\(mode.rawValue)_wire_per_dirty_byte", share)
        report.tell("codec_\(load)_\(mode.rawValue)_epochs_per_s", Double(after.epoch - before.epoch) / 2)
        guard mode == .auto else { return }
        let records = Double(last.plainRecords + last.lz4Records + last.zstdRecords)
        let earlier = Double(first.plainRecords + first.lz4Records + first.zstdRecords)
        report.tell("codec_\(load)_auto_plain_percent", Double(last.plainRecords - first.plainRecords) / max(1, records - earlier) * 100)
    }

}

/// Seconds that something takes.
func seconds(_ body: () -> Void) -> Double {
    let begun = MonotonicTime.now()
    body()
    return Double(MonotonicTime.now() - begun) / 1e9
}

/// Median over median; nil without samples.
func ratio(_ samples: Samples, _ base: Samples) -> Double? {
    samples.median.flatMap { value in base.median.flatMap { $0 > 0 ? value / $0 : nil } }
}
