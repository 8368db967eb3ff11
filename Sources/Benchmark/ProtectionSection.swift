internal import Demonstration
internal import Glibc
internal import HostAPI

/// What protection costs: the rate of the synchronisation, then processor time and memory of both daemons while the guest does nothing.
struct ProtectionSection {
    let options: BenchmarkOptions
    let writer: GuestWriter
    let tell: (String) -> Void
    static let machine = "bench"

    func measure(_ guest: LabGuest, _ daemons: LabDaemons, in lab: Lab, into report: inout BenchmarkReport) throws {
        try synchronise(guest, daemons, in: lab, into: &report)
        try awaitEpochs(40, daemons)
        tell("processor time of an idle guest's daemons over \(options.idleSeconds) s")
        let both = [daemons.first, daemons.second]
        let epoch = try daemons.protectedMachine(Self.machine).epoch
        let before = try both.map { daemon throws(BenchmarkError) in try ProcessUse(of: daemon.process.pid) }
        let begun = MonotonicTime.now()
        sleep(options.idleSeconds)
        let seconds = Double(MonotonicTime.now() - begun) / 1e9
        let after = try both.map { daemon throws(BenchmarkError) in try ProcessUse(of: daemon.process.pid) }
        let shares = zip(after, before).map { ($0.seconds - $1.seconds) / seconds * 100 }
        report.promise("idle_processor_both_daemons_percent", shares[0] + shares[1], atMost: 15)
        for (index, daemon) in both.enumerated() {
            report.tell("idle_processor_\(daemon.name)_percent", shares[index])
            report.tell("memory_\(daemon.name)_mib", Double(after[index].memory) / 1_048_576)
            for share in after[index].shares(since: before[index], seconds: seconds) {
                report.tell("idle_processor_\(daemon.name)_thread_\(share.name)_percent", share.percent)
            }
        }
        let now = try daemons.protectedMachine(Self.machine)
        report.tell("idle_epochs_per_s", Double(now.epoch - epoch) / seconds)
        report.tell("idle_pause_ms", now.checkpoints?.pauseMilliseconds.p50)
        report.tell("idle_commit_ms", now.checkpoints?.commitMilliseconds.p50)
        try measureMemory(daemons, into: &report)
    }

    /// The backup's daemon holds its largest epoch and little besides.
    private func measureMemory(_ daemons: LabDaemons, into report: inout BenchmarkReport) throws {
        tell("memory of the backup's daemon under epochs of 10,000 pages")
        for _ in 0..<5 {
            let epoch = try daemons.protectedMachine(Self.machine).epoch
            try writer.dirty(10_000)
            try awaitEpochs(epoch + 3, daemons)
        }
        let largest = (try daemons.protectedMachine(Self.machine).checkpoints?.dirtyPages.max ?? 0) * 4096 / 1_048_576
        let peak = Double(try ProcessUse(of: daemons.second.process.pid).peakMemory) / 1_048_576
        report.promise("backup_daemon_memory_beyond_one_epoch_mib", peak - largest, atMost: 64)
        report.tell("backup_daemon_memory_peak_mib", peak)
        report.tell("largest_epoch_mib", largest)
    }

    private func synchronise(
        _ guest: LabGuest, _ daemons: LabDaemons, in lab: Lab, into report: inout BenchmarkReport
    ) throws {
        tell("protecting the idle guest")
        let request = ProtectRequest(name: Self.machine, qmp: guest.qmp, backup: lab.host2.name, intervalMilliseconds: 25)
        var rate: Double?
        let begun = MonotonicTime.now()
        _ = try daemons.first.perform(.protect(request)) { reply in
            // The first round is all of memory; the later ones are too short to tell a rate.
            if case .progress(let progress) = reply, progress.sentBytes > 16 << 20 { rate = max(rate ?? 0, progress.bytesPerSecond) }
        }
        report.tell("protect_until_protected_ms", Double(MonotonicTime.now() - begun) / 1e6)
        report.tell("synchronisation_mib_per_s", rate.map { $0 / 1_048_576 })
    }

    private func awaitEpochs(_ count: UInt64, _ daemons: LabDaemons) throws {
        for _ in 0..<3_000 {
            if try daemons.protectedMachine(Self.machine).epoch >= count { return }
            usleep(10_000)
        }
        throw BenchmarkError("\(count) epochs were not committed within 30 s")
    }
}
