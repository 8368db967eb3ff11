public import Demonstration
internal import Glibc

/// `understudy bench`: measures every promise of `SPECIFICATION.md` that is a number of speed or size, in laboratories of its own.
public struct BenchmarkRun {
    private let options: BenchmarkOptions
    private let tell: @Sendable (String) -> Void

    /// - Parameter tell: takes a line of progress.
    public init(_ options: BenchmarkOptions, tell: @escaping @Sendable (String) -> Void) {
        self.options = options
        self.tell = tell
    }

    /// Measures everything. Takes about two minutes with `quick`, six otherwise.
    ///
    /// - Parameter prepared: called with the first laboratory, whose removal on an interrupt the caller may wish for.
    public func measure(prepared: (Lab) -> Void = { _ in }) throws -> BenchmarkReport {
        var load = 0.0
        getloadavg(&load, 1)
        var report = BenchmarkReport(
            qemu: "unknown", kernel: Self.kernel, processors: sysconf(CInt(_SC_NPROCESSORS_ONLN)), loadBefore: load, quick: options.quick)
        if load > 0.5 {
            tell("other work is running here (load \((load * 10).rounded() / 10)): the figures will be worse than they could be")
        }
        try measureOneGuest(prepared, &report)
        attempt("codec", &report, CodecSection(options: options, tell: tell).measure)
        attempt("disk", &report, DiskSection(options: options, tell: tell).measure)
        attempt("switchover", &report, SwitchoverSection(options: options, tell: tell).measure)
        attempt("takeover", &report, TakeoverSection(options: options, tell: tell).measure)
        return report
    }

    /// A section that breaks off is a promise that does not hold; what the others measured is not lost with it.
    private func attempt(_ section: String, _ report: inout BenchmarkReport, _ measure: (inout BenchmarkReport) throws -> Void) {
        do { try measure(&report) } catch {
            tell("the section \(section) broke off: \(error)")
            report.promise("section_\(section)_broke_off", nil, atMost: 0)
        }
    }

    private func measureOneGuest(_ prepared: (Lab) -> Void, _ report: inout BenchmarkReport) throws {
        try options.inLaboratory(prepared: prepared) { lab, daemons in
            tell("booting a guest")
            let guest = try lab.startGuest(GuestLaunch(image: try GuestImage.cached(), qemu: options.qemu, dirtyPages: 0))
            _ = try guest.waitUntilReady()
            let writer: GuestWriter
            (report, writer) = try PauseSection(options: options, tell: tell).measure(guest, into: report)
            try ProtectionSection(options: options, writer: writer, tell: tell).measure(guest, daemons, in: lab, into: &report)
            try AutopilotSection(options: options, tell: tell).measure(guest, daemons, in: lab, into: &report)
        }
    }

    private static var kernel: String {
        var name = utsname()
        uname(&name)
        return withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
