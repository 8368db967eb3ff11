internal import Logging
internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import LinuxShim
internal import QMP

/// Starts, finds and stops the machines that a host has the definitions of.
///
/// Two hosts may have the definition of one machine; see `MachineClaim` for what keeps it from running on both.
/// Any thread may use it.
final class MachineKeeper: Sendable {
    private let context: HostContext
    private let registry: MachineRegistry
    private let store: DefinitionStore
    private let claim: MachineClaim
    private var folder: String { context.configuration.runtimeFolder }

    init(context: HostContext, registry: MachineRegistry) {
        self.context = context
        self.registry = registry
        store = DefinitionStore(stateFolder: context.configuration.stateFolder)
        claim = MachineClaim(host: context.configuration.name, arbiter: context.arbiter, events: context.events)
    }

    func names() throws(HostDaemonError) -> [String] { try store.names() }

    func definition(_ name: String) throws(HostDaemonError) -> MachineDefinition {
        guard let definition = try store.load(name) else {
            throw HostDaemonError(.notFound, "this host has no definition of \(name): `understudy vm start FILE.toml` gives it one")
        }
        return definition
    }

    /// Every definition, also one that cannot be read: its message says why.
    func all() throws(HostDaemonError) -> [MachineDefinitionStatus] {
        try store.names().map { name in
            do throws(HostDaemonError) {
                return try status(of: try definition(name))
            } catch {
                return MachineDefinitionStatus(
                    name: name, qemu: "", backup: nil, intervalMilliseconds: 0, autostart: false, pid: nil, qmp: nil, message: error.message
                )
            }
        }
    }

    func status(of definition: MachineDefinition) throws(HostDaemonError) -> MachineDefinitionStatus {
        let session = registry[definition.name].flatMap { $0.isOver ? nil : $0.status }
        let process = try MachineProcess.find(definition.name, in: folder)
        let runsHere = session?.role == .primary
        var status = MachineDefinitionStatus(
            name: definition.name, qemu: definition.qemu, backup: definition.backup,
            intervalMilliseconds: definition.intervalMilliseconds, autostart: definition.autostart,
            pid: process?.pid ?? (runsHere ? session?.qemu?.pid : nil), qmp: process?.qmp ?? (runsHere ? session?.qemu?.qmp : nil),
            message: session?.message
                ?? (process == nil ? "not running here" : "runs here UNPROTECTED: `understudy protect \(definition.name)`"))
        if let process, process.ageSeconds < definition.settleSeconds {
            status.settleSeconds = definition.settleSeconds - process.ageSeconds
        }
        return status
    }

    /// Keeps the definition, when one is given, and starts the machine.
    func start(_ request: StartMachineRequest) throws(HostDaemonError) -> MachineDefinitionStatus {
        let definition: MachineDefinition
        if let text = request.definition {
            definition = try MachineDefinition.parse(text, place: "the definition")
            if let backup = definition.backup { _ = try context.peer(named: backup) }
            try store.save(text, name: definition.name)
        } else {
            definition = try self.definition(request.name ?? "")
        }
        let status = try status(of: definition)
        if status.pid != nil {
            guard request.unlessRunning else {
                throw HostDaemonError(.busy, "\(definition.name) runs here already: \(status.message)")
            }
            return status
        }
        if let session = registry[definition.name], !session.isOver, session.status.role == .backup {
            throw HostDaemonError(
                .refused, "\(definition.name) runs on \(session.status.peer ?? "the other host"), and this host is its backup")
        }
        guard registry[definition.name].map(\.isOver) ?? true else {
            throw HostDaemonError(.busy, "\(definition.name) is being looked after: \(registry[definition.name]?.status.message ?? "")")
        }
        try claim.take(definition.name, discard: request.discard)
        do throws(HostDaemonError) {
            return try launch(definition)
        } catch {
            giveBack(definition.name)
            throw error
        }
    }

    private func launch(_ definition: MachineDefinition) throws(HostDaemonError) -> MachineDefinitionStatus {
        let (process, child) = try MachineProcess.start(definition, in: folder)
        context.events.record(
            "machine-started", machine: definition.name, "QEMU \(process.pid) runs; its output is in \(process.log)")
        do throws(HostDaemonError) {
            try watch(definition.name, descriptor: child.pidfd) { child.exitStatus.map(Self.words) }
        } catch {
            child.kill()
            throw error
        }
        return try status(of: definition)
    }

    /// Looks after the machines that an earlier daemon started and that still run.
    func watchRunning() throws(HostDaemonError) {
        for name in try names() {
            guard let process = try MachineProcess.find(name, in: folder) else { continue }
            let descriptor = understudy_pidfd_open(process.pid)
            guard descriptor >= 0 else { continue }
            try watch(name, descriptor: descriptor) {
                close(descriptor)
                return "how is not known, since another daemon had started it"
            }
        }
    }

    /// Waits for QEMU's end on a thread of its own, and gives the machine's record back then.
    ///
    /// - Parameter reap: called when the descriptor says that QEMU ended; how it did, nil when that was a false alarm.
    private func watch(_ name: String, descriptor: Int32, reap: @escaping @Sendable () -> String?) throws(HostDaemonError) {
        try DedicatedThread(name: "vm") { [self] in
            var how: String?
            while how == nil {
                var ended = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                if poll(&ended, 1, -1) > 0 { how = reap() }
            }
            context.events.record("machine-ended", machine: name, "QEMU ended: \(how ?? "")")
            giveBack(name)
        }
    }

    /// Forgets a machine that does not run here, and gives its record back; a record that stays keeps the other host from starting it.
    private func giveBack(_ name: String) {
        do throws(HostDaemonError) {
            // It may have been started anew meanwhile.
            guard try MachineProcess.find(name, in: folder) == nil else { return }
            MachineProcess.forget(name, in: folder)
            try claim.release(name)
        } catch {
            context.events.record("failed", machine: name, error.message, level: .warning)
        }
    }

    /// Protection ended and with it the arbiter's record; a machine of ours keeps one, so that no other host starts it too.
    func keepClaim(_ name: String) throws(HostDaemonError) {
        guard try MachineProcess.find(name, in: folder) != nil else { return }
        try claim.take(name, discard: false)
    }

    private static func words(_ exit: StandbyProcess.Exit) -> String {
        switch exit {
        case .status(0): "it was shut down"
        case .status(let code): "exit code \(code)"
        case .signal(let number): "signal \(number)"
        }
    }

    /// Ends protection, asks the guest to power down, and waits for QEMU's end.
    func stop(_ request: StopMachineRequest) throws(HostDaemonError) {
        let name = request.name
        var process = try MachineProcess.find(name, in: folder)
        var takenOver: PrimarySession?
        if let session = registry[name], !session.isOver {
            let status = session.status
            guard status.role == .primary else {
                throw HostDaemonError(.refused, "\(name) runs on \(status.peer ?? "the other host"): stop it there")
            }
            if process == nil, let qemu = status.qemu, let qmp = qemu.qmp {
                process = MachineProcess(
                    name: name, pid: qemu.pid, startTime: SessionRecord.startTime(of: qemu.pid) ?? 0, qmp: qmp, log: "")
                takenOver = session as? PrimarySession
            }
            try session.unprotect()
            registry.remove(session)
        }
        guard let process else { throw HostDaemonError(.notFound, "\(name) does not run here\(elsewhere(name))") }
        let descriptor = understudy_pidfd_open(process.pid)
        guard descriptor >= 0, SessionRecord.startTime(of: process.pid) == process.startTime else {
            if descriptor >= 0 { close(descriptor) }
            MachineProcess.forget(name, in: folder)
            return try claim.release(name)
        }
        defer { close(descriptor) }
        let status = takenOver?.status
        do throws(HostDaemonError) { try powerDown(process, descriptor, request) } catch {
            keep(process, status, takenOver)
            throw error
        }
        MachineProcess.forget(name, in: folder)
        try claim.release(name)
        context.events.record("machine-stopped", machine: name, "QEMU \(process.pid) ended on request")
    }

    /// A guest that runs on keeps a record, so that no other host starts it too, and one that was taken over stays known here.
    private func keep(_ process: MachineProcess, _ status: MachineStatus?, _ session: PrimarySession?) {
        do throws(HostDaemonError) {
            try claim.take(process.name, discard: false)
            guard let status, let session, let record = try claim.read(process.name) else { return }
            let machine = TakenOverMachine(
                name: process.name, formerPrimary: session.request.backup, record: record, process: session.ownProcess, qmp: process.qmp,
                pid: process.pid, taps: status.taps, disks: session.saved?.disks ?? [], epoch: status.epoch, times: status.takeover,
                version: status.qemu?.version ?? "",
                intervalMilliseconds: session.request.intervalMilliseconds, protectBack: false, sharedDisks: session.request.sharedDisks)
            try context.promote(machine, context)
        } catch {
            context.events.record(
                "failed", machine: process.name, "QEMU \(process.pid) runs on, and this host cannot look after it: \(error.message)",
                level: .error)
        }
    }

    /// Where a machine that was moved away or taken over went, as far as this host knows.
    private func elsewhere(_ name: String) -> String {
        guard let status = registry[name]?.status, status.state == .ended, status.qemu == nil, let peer = status.peer else { return "" }
        return ": \(peer) had it last, stop it there"
    }

    private func powerDown(_ process: MachineProcess, _ descriptor: Int32, _ request: StopMachineRequest) throws(HostDaemonError) {
        try command("system_powerdown", process.qmp)
        if Self.ends(descriptor, within: request.timeoutSeconds) { return }
        guard request.force else {
            throw HostDaemonError(
                .timeout,
                "\(process.name) did not power down within \(Int(request.timeoutSeconds)) s (it runs on, UNPROTECTED): "
                    + "its system may ignore the power button; --force ends QEMU")
        }
        try command("quit", process.qmp)
        guard Self.ends(descriptor, within: 10) else {
            throw HostDaemonError(.timeout, "QEMU \(process.pid) does not end: look at its storage, or kill it")
        }
    }

    private func command(_ word: String, _ socket: String) throws(HostDaemonError) {
        do throws(QMPError) {
            let monitor = try QMPClient(socketPath: socket)
            defer { monitor.close() }
            try monitor.execute(word)
        } catch {
            // QEMU may be gone before it answers `quit`.
            if error.code == .closed { return }
            throw HostDaemonError(.guest, error.message, cause: error)
        }
    }

    private static func ends(_ descriptor: Int32, within seconds: Double) -> Bool {
        let end = MonotonicClock.now + MonotonicClock.nanoseconds(seconds: seconds)
        repeat {
            var ended = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&ended, 1, 100) > 0 { return true }
        } while MonotonicClock.now < end
        return false
    }

    func remove(_ name: String) throws(HostDaemonError) {
        if try MachineProcess.find(name, in: folder) != nil {
            throw HostDaemonError(.busy, "\(name) runs here: `understudy vm stop \(name)` first")
        }
        guard try store.remove(name) else { throw HostDaemonError(.notFound, "this host has no definition of \(name)") }
    }
}
