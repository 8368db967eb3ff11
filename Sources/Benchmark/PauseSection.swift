internal import Demonstration
internal import Glibc
internal import HostDaemon
internal import Synchronization

/// How long a checkpoint stops the guest, against the least that could be: the bare gated save and `process_vm_readv` of the same pages.
///
/// All samples of one number of pages are taken in turns, so that their ratio does not depend on what else the machine does.
struct PauseSection {
    let options: BenchmarkOptions
    let tell: @Sendable (String) -> Void

    /// Numbers of dirty pages and the ratio that is promised for each.
    static let promises: [(pages: Int, ratio: Double)] = [(0, 1.3), (400, 1.3), (10_000, 2)]

    /// Measures a guest that does nothing of its own, with one copy thread, and lets its monitor go; hands over the writer of its memory.
    func measure(_ guest: LabGuest, into report: BenchmarkReport) throws -> (BenchmarkReport, GuestWriter) {
        let outcome = Mutex<Result<(BenchmarkReport, GuestWriter), any Error>>(.failure(BenchmarkError("nothing was measured")))
        try PauseProbe.onUrgentThread {
            let result = Result { try measureHere(guest, into: report) }
            outcome.withLock { $0 = result }
        }
        return try outcome.withLock { $0 }.get()
    }

    private func measureHere(_ guest: LabGuest, into report: BenchmarkReport) throws -> (BenchmarkReport, GuestWriter) {
        var report = report
        let probe = try PauseProbe(qmpPath: guest.qmp, injectorPath: options.injector, copyThreads: 1)
        report.qemu = probe.qemu
        let writer = try GuestWriter(probe.machine)
        for (pages, ratio) in Self.promises {
            tell("pause with \(pages) pages made dirty: \(options.rounds) checkpoints")
            try measure(pages, ratio, probe, writer, &report)
        }
        try probe.stop()
        return (report, writer)
    }

    private func measure(
        _ pages: Int, _ promised: Double, _ probe: PauseProbe, _ writer: GuestWriter, _ report: inout BenchmarkReport
    ) throws {
        var (floor, readv, pause, dirty) = (Samples(), Samples(), Samples(), Samples())
        var (reach, scan, copy, drain) = (Samples(), Samples(), Samples(), Samples())
        for round in 0..<options.rounds + 5 {
            usleep(20_000)
            let bare = try probe.bareSave()
            usleep(20_000)
            try writer.dirty(pages)
            let read = try probe.readDirtyPages()
            usleep(20_000)
            try writer.dirty(pages)
            let cut = try probe.checkpoint()
            guard round >= 5 else { continue }
            floor.add(bare)
            readv.add(read)
            pause.add(cut.pause)
            dirty.add(Double(cut.dirtyPages))
            reach.add(cut.reach)
            scan.add(cut.scan)
            copy.add(cut.copy)
            drain.add(cut.drain)
        }
        let least = (floor.median ?? 0) + (readv.median ?? 0)
        report.promise("pause_ratio_\(pages)_pages", least > 0 ? pause.median.map { $0 / least } : nil, atMost: promised)
        report.tell("pause_\(pages)_pages_ms", pause.median)
        report.tell("pause_\(pages)_pages_dirty", dirty.median)
        for (part, samples) in [
            ("floor", floor), ("readv", readv), ("reach", reach), ("scan", scan), ("copy", copy), ("drain", drain),
        ] { report.tell("pause_\(pages)_pages_\(part)_ms", samples.median) }
        if pages == 0 { report.tell("scan_ms_per_gib", scan.median.map { $0 * Double(1 << 30) / Double(probe.memoryBytes) }) }
    }
}
