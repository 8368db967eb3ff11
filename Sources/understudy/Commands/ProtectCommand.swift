import ArgumentParser
import Foundation
import HostAPI

struct ProtectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "protect", abstract: "Protect a running virtual machine: its guest survives the death of this host.")

    @Argument(help: "The name under which both hosts and the arbiter know the machine; a definition says it itself.")
    var name: String?

    @Option(help: "Start the machine of this definition file, unless it runs, and protect it.")
    var vm: String?

    @Option(help: "Unix socket of a QMP monitor of the running QEMU; not needed for a machine that this host took over or started.")
    var qmp: String?

    @Option(
        help:
            "The backup host: one of the peers in the daemon's configuration. By default the one that the machine had last, or that its definition names."
    )
    var backup: String?

    @Option(
        help: "Length of an epoch, such as 25ms; `auto`, the default, lets it find itself: short while output waits, long while none does.")
    var interval: String?

    @Option(help: "With an automatic interval: how long a commit may take when output comes after a quiet time, such as 10ms.")
    var latencyTarget: String?

    @Option(help: "With an automatic interval: how much of the time the guest may stand still while its output waits, such as 10%.")
    var overheadTarget: String?

    @Option(help: "NAME=PATH: where the backup keeps the copy of a disk; without it the backup chooses. Can be given for each disk.")
    var disk: [String] = []

    @Flag(help: "Accept that the copies of disks overwrite files that are there on the backup.")
    var overwrite = false

    @Flag(
        inversion: .prefixedNo,
        help:
            "Both hosts see the same images of the disks (NFS, a block device): copy nothing, hold the guest's writes until their commit. By default as before, or as the definition says."
    )
    var sharedDisks: Bool?

    @Option(help: "How checkpoints are compressed. By default as the daemon's configuration says, else auto.")
    var compression: CompressionMode?

    @Flag(help: "Let output leave before its checkpoint is safe. Needs --unsafe.")
    var noOutputCommit = false

    @Flag(help: "Accept a switch that gives up safety.")
    var unsafe = false

    @OptionGroup var daemon: DaemonOptions

    func validate() throws {
        if noOutputCommit && !unsafe {
            throw ValidationError(
                "--no-output-commit breaks connections and loses acknowledged data at a takeover: add --unsafe to accept that")
        }
        guard (name == nil) != (vm == nil) else { throw ValidationError("give either the machine's name or --vm FILE.toml") }
        guard vm == nil || qmp == nil else { throw ValidationError("--vm starts QEMU with a monitor of its own: leave --qmp out") }
        guard sharedDisks != true || !overwrite else { throw ValidationError("--shared-disks copies nothing: leave --overwrite out") }
        for word in disk where diskPath(word) == nil {
            throw ValidationError("--disk \(word): give a disk's name and an absolute path on the backup host, NAME=/PATH")
        }
        if let interval, milliseconds == nil {
            throw ValidationError("--interval \(interval): give `auto`, or a length between 5ms and 10s, such as 25ms")
        }
        if latencyTarget != nil || overheadTarget != nil, (milliseconds ?? 0) > 0 {
            throw ValidationError("--latency-target and --overhead-target find the interval themselves: leave --interval out")
        }
        if let latencyTarget, latencyMilliseconds == nil {
            throw ValidationError("--latency-target \(latencyTarget): give a time between 1ms and 10s, such as 10ms")
        }
        if let overheadTarget, overheadPercent == nil {
            throw ValidationError("--overhead-target \(overheadTarget): give a share between 0.1% and 90%, such as 10%")
        }
    }

    private func diskPath(_ word: String) -> (name: String, path: String)? {
        guard let equals = word.firstIndex(of: "="), equals > word.startIndex, word[word.index(after: equals)...].hasPrefix("/") else {
            return nil
        }
        return (String(word[..<equals]), String(word[word.index(after: equals)...]))
    }

    private var milliseconds: Double? {
        guard let interval else { return nil }
        if interval == "auto" { return 0 }
        return duration(interval).flatMap { (5...10_000).contains($0) ? $0 : nil }
    }

    /// What was asked for; targets ask for an automatic one.
    private func interval(orElse other: Double) -> Double { milliseconds ?? (latencyTarget == nil && overheadTarget == nil ? other : 0) }

    private var latencyMilliseconds: Double? { latencyTarget.flatMap(duration).flatMap { (1...10_000).contains($0) ? $0 : nil } }

    private var overheadPercent: Double? {
        guard let overheadTarget, overheadTarget.hasSuffix("%") else { return nil }
        return Double(overheadTarget.dropLast()).flatMap { (0.1...90).contains($0) ? $0 : nil }
    }

    /// Milliseconds.
    private func duration(_ word: String) -> Double? {
        if word.hasSuffix("ms") { return Double(word.dropLast(2)) }
        return word.hasSuffix("s") ? Double(word.dropLast()).map { $0 * 1000 } : nil
    }

    func run() throws {
        var request = try self.request()
        if !disk.isEmpty { request.diskPaths = Dictionary(disk.compactMap(diskPath)) { _, last in last } }
        if overwrite { request.overwriteDisks = true }
        request.sharedDisks = sharedDisks
        request.latencyTargetMilliseconds = latencyMilliseconds
        request.overheadTargetPercent = overheadPercent
        request.compression = compression
        let result = try daemon.perform(.protect(request)) { reply in
            switch reply {
            case .progress(let progress): show(progress)
            case .event(let event): show(event)
            default: break
            }
        }
        guard case .machine(let machine) = result else { return }
        if daemon.json {
            print(Output.json(machine))
        } else {
            Output.progress("", last: false); print("\(machine.name): \(machine.message)")
        }
    }

    private func request() throws -> ProtectRequest {
        guard let vm else {
            // A definition that the daemon has says the socket.
            return ProtectRequest(
                name: name ?? "", qmp: qmp.map(Output.absolute), backup: try backup ?? knownBackup(),
                intervalMilliseconds: milliseconds ?? 0,
                unsafeNoOutputCommit: noOutputCommit)
        }
        let text = try VMCommand.definition(vm.contains("/") ? vm : "./\(vm)")
        let start = StartMachineRequest(name: nil, definition: text, unlessRunning: true)
        guard case .definition(let machine) = try daemon.perform(.startMachine(start)) else { throw ExitCode(1) }
        guard let backup = backup ?? machine.backup else {
            Output.complain("\(machine.name) runs UNPROTECTED: its definition names no `backup`; repeat with --backup HOST")
            throw ExitCode(1)
        }
        if let seconds = machine.settleSeconds {
            Output.note(String(format: "%@ runs; %.0f s for its guest to boot", machine.name, seconds.rounded(.up)))
            Thread.sleep(forTimeInterval: seconds)
        }
        return ProtectRequest(
            name: machine.name, qmp: machine.qmp, backup: backup, intervalMilliseconds: interval(orElse: machine.intervalMilliseconds),
            unsafeNoOutputCommit: noOutputCommit)
    }

    /// The host that backed the machine up, or ran it, before; else what its definition says.
    private func knownBackup() throws -> String {
        if case .status(let status) = try daemon.perform(.status), let machine = status.machines.first(where: { $0.name == name }),
            machine.role == .primary, let peer = machine.peer
        {
            return peer
        }
        if case .definitions(let machines) = try daemon.perform(.definitions),
            let backup = machines.first(where: { $0.name == name })?.backup
        {
            return backup
        }
        throw ValidationError("--backup HOST is missing: the host that shall take over")
    }

    private func show(_ event: HostEvent) {
        if daemon.json {
            Output.line(Output.json(["event": event]))
        } else {
            Output.progress("")
            Output.note("\(event.kind): \(event.message)")
        }
    }

    private func show(_ progress: SynchronisationProgress) {
        if daemon.json {
            Output.line(Output.json(["progress": progress]))
        } else {
            let rest = progress.remainingSeconds.map { String(format: ", %.1f s left", $0) } ?? ""
            let same = progress.skippedBytes.map { String(format: ", %.0f MiB there already", Double($0) / 1_048_576) } ?? ""
            Output.progress(
                String(
                    format: "%@: round %d, %.0f MiB sent%@, %.0f MiB to go, %.0f MiB/s%@", progress.phase, progress.round,
                    Double(progress.sentBytes) / 1_048_576, same,
                    Double(progress.remainingBytes) / 1_048_576, progress.bytesPerSecond / 1_048_576, rest))
        }
    }
}
