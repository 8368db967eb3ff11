internal import Demonstration
internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import QMP

/// What protection costs a guest's disk: writes per second of the same guest on the same image, unprotected, protected, and mirrored by
/// QEMU itself into nbdkit's memory plugin; and what writes cost a checkpoint.
///
/// The three states are taken in turns, and each ratio is the median over the turns.
struct DiskSection {
    let options: BenchmarkOptions
    let tell: (String) -> Void
    private static let machine = "bench-disk"
    private static let mebibytes = 128

    private static let loads: [(name: String, load: DiskLoad)] = [
        ("sequential_4k", DiskLoad(bytes: 4096, random: false)), ("sequential_64k", DiskLoad(bytes: 65_536, random: false)),
        ("sequential_1m", DiskLoad(bytes: 1 << 20, random: false)), ("random_4k", DiskLoad(bytes: 4096, random: true)),
        ("random_64k", DiskLoad(bytes: 65_536, random: true)), ("random_4k_fsync", DiskLoad(bytes: 4096, random: true, synchronous: true)),
    ]

    /// Writes per second by load.
    private typealias Rates = [String: Double]

    func measure(into report: inout BenchmarkReport) throws {
        try options.inLaboratory { lab, daemons in
            tell("booting a guest with a disk")
            var launch = GuestLaunch(image: try GuestImage.cached(), qemu: options.qemu, dirtyPages: 0)
            let image = try DiskImage.create(at: "\(lab.host1.folder)/bench.raw", mebibytes: Self.mebibytes, content: .blank)
            launch.disks = [GuestDisk(image, use: .load)]
            let guest = try lab.startGuest(launch)
            _ = try guest.waitUntilReady()
            // Every block of the image is there before anything is measured.
            for _ in 0..<2 { _ = try lab.load(DiskLoad(bytes: 1 << 20, random: false), milliseconds: 1000) }
            try measure(guest, daemons, in: lab, into: &report)
        }
    }

    private func measure(_ guest: LabGuest, _ daemons: LabDaemons, in lab: Lab, into report: inout BenchmarkReport) throws {
        var (unprotected, protectedRates) = ([String: Samples](), [String: Samples]())
        var (againstNothing, againstMirror) = ([String: Samples](), [String: Samples]())
        var checkpoints = Checkpoints()
        for turn in 1...options.diskTurns {
            tell("disk writes, turn \(turn) of \(options.diskTurns): unprotected, protected, QEMU's own mirror")
            let plain = try rates(lab)
            let protected = try self.protected(guest, daemons, in: lab, &checkpoints)
            let mirrored = try self.mirrored(guest, in: lab)
            for (name, _) in Self.loads {
                guard let plain = plain[name], let protected = protected[name], protected > 0 else { continue }
                unprotected[name, default: Samples()].add(plain)
                protectedRates[name, default: Samples()].add(protected)
                againstNothing[name, default: Samples()].add(plain * (1 - checkpoints.pauseShare) / protected)
                againstMirror[name, default: Samples()].add((mirrored?[name]).map { $0 / protected })
            }
        }
        // 0.9 and 0.95 of the throughput, as the factor by which a write takes longer.
        for (name, _) in Self.loads {
            report.promise("disk_\(name)_slowdown_ratio", againstNothing[name]?.median, atMost: 1 / 0.9)
            report.tell("disk_\(name)_unprotected_per_s", unprotected[name]?.median)
            report.tell("disk_\(name)_protected_per_s", protectedRates[name]?.median)
            report.promise("disk_\(name)_against_mirror_ratio", againstMirror[name]?.median, atMost: 1 / 0.95)
        }
        report.promise("disk_pause_growth_ms", checkpoints.growth, atMost: 0.3)
        report.tell("disk_writes_per_epoch", checkpoints.writesPerEpoch)
        report.tell("disk_pause_share_percent", checkpoints.pauseShare * 100)
    }

    private func rates(_ lab: Lab) throws -> Rates {
        var rates: Rates = [:]
        for (name, load) in Self.loads { rates[name] = try lab.load(load, milliseconds: options.diskMilliseconds) }
        return rates
    }

    /// Pauses without and with writes.
    private struct Checkpoints {
        var idlePauses = Samples()
        var busyPauses = Samples()
        var perEpoch = Samples()
        /// Of the time, the part that the guest stands still.
        var pauseShare = 0.0

        var growth: Double? { idlePauses.median.flatMap { idle in busyPauses.median.map { $0 - idle } } }
        var writesPerEpoch: Double? { perEpoch.median }
    }

    private func protected(_ guest: LabGuest, _ daemons: LabDaemons, in lab: Lab, _ checkpoints: inout Checkpoints) throws -> Rates {
        let request = ProtectRequest(name: Self.machine, qmp: guest.qmp, backup: lab.host2.name, intervalMilliseconds: 25)
        _ = try daemons.first.perform(.protect(request))
        sleep(2)
        let idle = try daemons.protectedMachine(Self.machine)
        checkpoints.idlePauses.add(idle.checkpoints?.pauseMilliseconds.p50)
        let before = (epoch: idle.epoch, at: MonotonicTime.now())
        let rates = try self.rates(lab)
        let busy = try daemons.protectedMachine(Self.machine)
        let seconds = Double(MonotonicTime.now() - before.at) / 1e9
        let epochs = Double(busy.epoch - before.epoch)
        let pause = busy.checkpoints?.pauseMilliseconds.p50 ?? 0
        checkpoints.pauseShare = epochs * pause / 1000 / seconds
        // The quantiles are of the last epochs, so the last load's: small writes at random places.
        let last = try lab.load(DiskLoad(bytes: 4096, random: true), milliseconds: 3000)
        checkpoints.busyPauses.add(try daemons.protectedMachine(Self.machine).checkpoints?.pauseMilliseconds.p50)
        checkpoints.perEpoch.add(last * seconds / max(epochs, 1))
        _ = try daemons.first.perform(.unprotect(name: Self.machine))
        return rates
    }

    /// The same guest while QEMU's own mirror copies every write to nbdkit; nil without nbdkit.
    private func mirrored(_ guest: LabGuest, in lab: Lab) throws -> Rates? {
        guard access("/usr/bin/nbdkit", X_OK) == 0 else { return nil }
        let socket = "\(lab.host1.folder)/nbdkit.sock"
        unlink(socket)
        let nbdkit = try lab.host1.spawn(["nbdkit", "-f", "-U", socket, "memory", "\(Self.mebibytes)M"], log: "nbdkit.log")
        defer { nbdkit.end() }
        try wait("nbdkit's socket") { access(socket, F_OK) == 0 }
        var monitor: QMPClient?
        // QEMU's socket refuses for a moment after the daemon has left it.
        try wait("QEMU's monitor") {
            monitor = try? QMPClient(socketPath: guest.qmp)
            return monitor != nil
        }
        guard let qmp = monitor else { return nil }
        defer { qmp.close() }
        guard let disk = try MachineDescription.read(from: qmp).writableDisks.first else { throw BenchmarkError("the guest has no disk") }
        let mirror = DiskMirror(index: 0, disk: disk, socketPath: socket, export: "")
        try mirror.attach(qmp)
        try wait("the mirror's first copy") { try DiskMirror.states(qmp, of: [mirror]).allSatisfy(\.isReady) }
        let rates = try self.rates(lab)
        try mirror.detach(qmp)
        return rates
    }

    private func wait(_ what: String, until condition: () throws -> Bool) throws {
        for _ in 0..<600 {
            if try condition() { return }
            usleep(100_000)
        }
        throw BenchmarkError("\(what) did not come within a minute")
    }
}
