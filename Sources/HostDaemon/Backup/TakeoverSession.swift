internal import Arbiter
internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import LinuxShim
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// A standby that an earlier daemon left: its takeover is finished, handed back, or found to be none.
///
/// `TakeoverRecovery` decides from what is left of the guest and from the arbiter's record; one thread of its own carries that out.
final class TakeoverSession: MachineSession, Sendable {
    private struct Shared {
        var status: MachineStatus
        var isOver = false
        var told = ""
    }

    let name: String
    private let note: TakeoverNote
    private let folder: String
    private let context: HostContext
    private let shared: Mutex<Shared>

    init(_ note: TakeoverNote, folder: String, context: HostContext) {
        name = note.name
        self.note = note
        self.folder = folder
        self.context = context
        var status = MachineStatus(
            name: note.name, role: .backup, state: .deciding, protected: false,
            message: "an earlier daemon left a standby of this machine; asking the arbiter whether it is the guest")
        status.peer = note.formerPrimary
        status.generation = note.session.generation
        status.taps = note.taps
        shared = Mutex(Shared(status: status))
    }

    func start() throws(HostDaemonError) {
        try DedicatedThread(name: "takeover") { [self] in
            while !goOn() { usleep(200_000) }
            shared.withLock { $0.isOver = true }
        }
    }

    var status: MachineStatus { shared.withLock { $0.status } }
    var isOver: Bool { shared.withLock { $0.isOver } }
    var metrics: MachineMetrics { MachineMetrics(status: status) }
    var standstill: UInt64 { 0 }

    func unprotect() throws(HostDaemonError) {
        throw HostDaemonError(.busy, "\(name) is being recovered: \(status.message). Try again when `understudy status` says how it ended")
    }

    func switchover(_ request: SwitchoverRequest, goOn: () -> Bool) throws(HostDaemonError) -> SwitchoverReport {
        throw HostDaemonError(.busy, "\(name) is being recovered: \(status.message)")
    }

    /// One look and one step; true when nothing is left to do.
    private func goOn() -> Bool {
        guard let guest = examine() else { return false }
        let current: ArbiterRecord?
        do throws(ArbiterError) { current = try context.arbiter.read(key: HostContext.key(of: name)) } catch {
            tell("arbiter-unreachable", "the arbiter does not answer, nothing is decided before it does: \(error)", level: .error)
            return false
        }
        var nonces = NonceSequence(seed: (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max)))
        let step = TakeoverRecovery.step(
            session: note.session, host: context.configuration.name, guest: guest, current: current, nonce: nonces.next())
        switch step {
        case .confirm(let proposal):
            guard let record = decided(proposal) else { return false }
            return lookAfter(record)
        case .resume: return resume()
        case .lookAfter(let record): return lookAfter(record)
        case .handBack(let proposal):
            guard decided(proposal) != nil else { return false }
            return end(
                "activation-failed",
                "an earlier daemon died while it loaded the guest, which never ran here: given back to \(note.formerPrimary)",
                .warning)
        case .dispose: return end("standby-orphaned", "a standby that an earlier daemon left is not needed any more; it is gone", .notice)
        case .hold(let owner):
            signal(SIGSTOP)
            return leave("the guest runs here, but the arbiter names \(owner): it is held")
        case .lost: return end("failed", BackupFailure.guestLost(reason: "its QEMU ended together with understudyd").sentence, .critical)
        case .leave:
            return leave(
                "an earlier daemon left a standby of this machine (QEMU \(note.processID)), and the arbiter's record says nothing of it: look at both hosts, then end the QEMU that is not the guest"
            )
        }
    }

    /// What is left of the standby; nil when that cannot be seen now.
    private func examine() -> TakeoverRecovery.Guest? {
        guard note.processIsAlive else { return TakeoverNote.neverRan(folder) ? .neverRan : .gone }
        do throws(QMPError) {
            let monitor = try QMPClient(socketPath: note.qmp)
            defer { monitor.close() }
            switch try monitor.execute("query-status")["status"]?.string {
            case "running": return .running
            case "inmigrate", "finish-migrate":
                // Its stream ended with the daemon that fed it, so it can never be loaded.
                signal(SIGKILL)
                return nil
            default: return .loaded
            }
        } catch {
            // It may be ending.
            if note.processIsAlive {
                tell("monitor-failed", "QEMU's monitor at \(note.qmp) does not answer: \(error.message)", level: .error)
            }
            return nil
        }
    }

    /// The record that a decision led to; nil when it is not known, and everything is looked at again.
    private func decided(_ proposal: ArbiterProposal) -> ArbiterRecord? {
        switch context.arbiter.compareAndSet(key: HostContext.key(of: name), proposal: proposal, timeout: 1_000_000_000) {
        case .won(let record): return record
        case .lost: return nil
        case .unknown(let reason):
            tell("arbiter-unreachable", "the arbiter does not answer: \(reason)", level: .error)
            return nil
        }
    }

    /// The record says that this host won, and every acknowledged epoch is loaded.
    private func resume() -> Bool {
        do {
            try TakeoverNote.guestMayRun(folder)
            let state = CopySignature.State.ran(since: note.session.generation + 1)
            for sentence in DiskCopy.mark(note.disks ?? [], state, machine: name) { tell("disk-mark-failed", sentence, level: .error) }
            for tap in GuestPorts.taps(note.taps) { try StandbyTap.open(name: tap) }
            let monitor = try QMPClient(socketPath: note.qmp)
            defer { monitor.close() }
            try DeafNetwork.open(monitor)
            try StandbyProcess.resume(monitor)
            try DeafNetwork.tidy(monitor)
        } catch {
            tell("run-failed", "the guest does not run: \(error)", level: .error)
        }
        return false
    }

    private func lookAfter(_ record: ArbiterRecord) -> Bool {
        report("takeover", "the guest that an earlier daemon took over runs here")
        let machine = TakenOverMachine(
            name: name, formerPrimary: note.formerPrimary, record: record, process: nil, qmp: note.qmp, pid: note.processID,
            taps: note.taps, disks: note.disks ?? [],
            epoch: 0, times: nil, version: note.version, intervalMilliseconds: 0, protectBack: false,
            sharedDisks: note.sharedDisks, formerDisks: note.formerDisks)
        do throws(HostDaemonError) {
            try context.promote(machine, context)
            return true
        } catch {
            tell("promotion-failed", "the guest runs, but this daemon cannot look after it: \(error)", level: .critical)
            return false
        }
    }

    /// Nothing of the standby stays here.
    private func end(_ kind: String, _ message: String, _ level: EventLevel) -> Bool {
        signal(SIGKILL)
        guard !note.processIsAlive else { return false }
        for sentence in StandbyTap.removeOwn(GuestPorts.taps(note.taps)) { tell("tap-left", sentence, level: .warning) }
        TakeoverNote.remove(from: folder)
        report(kind, message, level: level)
        shared.withLock { shared in
            shared.status.state = level == .critical ? .failed : .ended
            shared.status.message = message
        }
        return true
    }

    private func leave(_ message: String) -> Bool {
        report("contradiction", message, level: .critical)
        shared.withLock { shared in
            shared.status.state = .failed
            shared.status.message = message
        }
        return true
    }

    private func signal(_ number: CInt) {
        let descriptor = understudy_pidfd_open(note.processID)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        // Asked again with the descriptor in hand: the number may be another process's.
        if note.processIsAlive { _ = understudy_pidfd_send_signal(descriptor, number) }
    }

    private func report(_ kind: String, _ message: String, level: EventLevel = .notice) {
        context.events.record(kind, machine: name, message, level: level)
    }

    /// Each new trouble once.
    private func tell(_ kind: String, _ message: String, level: EventLevel) {
        let isNew = shared.withLock { shared in
            defer { shared.told = message }
            shared.status.message = message
            return shared.told != message
        }
        if isNew { report(kind, message, level: level) }
    }
}
