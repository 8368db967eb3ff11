internal import Arbiter
internal import Glibc
internal import GuestMemory
internal import HostAPI
internal import Hypervisor
internal import Links
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// One machine that this host runs and protects: from `protect` until nothing of it is left here.
///
/// One thread of its own owns everything but `shared`: it establishes protection, then goes round in `PrimarySession+Protection`. The pure
/// `PrimaryProtocol` decides, `PrimarySession+Actions` carries out.
final class PrimarySession: MachineSession, @unchecked Sendable {
    // SAFETY: the variables below belong to the session thread, which `start` makes; other threads use `mailbox`, `shared` and constants only.
    enum Message: Sendable {
        case control(ControlMessage)
        case channelClosed(String)
        case arbiter(UInt64, ArbiterReply)
        case sent(UInt64, LinkError?)
        case unprotect
        case switchover(SwitchoverTicket)
        case cancel
        case gateDisturbed(String)
        case disksBroken(String)
        /// The guest's agent took back so many nanoseconds.
        case clockSet(UInt64)
        case clockNotSet(String)
        /// The shared images have everything that the guest wrote until this epoch's end.
        case imagesHold(EpochIdentity)
        /// A frame was held back that belongs to an epoch after the named one, the first of its epoch at its card.
        case outputWaits(after: UInt64)
        /// A new session takes over a machine that runs here unprotected.
        case retire
        /// The operator's own protection shall take the place of one that is being established.
        case giveWay
    }

    /// What other threads may see.
    struct Shared {
        var status: MachineStatus
        var pause = SampleWindow()
        var epoch = SampleWindow()
        var commit = SampleWindow()
        var dirty = SampleWindow()
        var checkpoints: UInt64 = 0
        /// Nanoseconds that the guest's clock has lost.
        var clockLost: UInt64 = 0
        var deviceStateBytes = 0
        /// How often each reason decided when an epoch ended; the last one, with the length meant, in milliseconds.
        var decisions: [String: UInt64] = [:]
        var decision: (reason: EpochDecision.Reason, milliseconds: Double) = (.fixed, 0)
        var histograms = CheckpointHistograms()
        var sentBytes: UInt64 = 0
        /// Monotonic nanoseconds of the last acknowledgement; 0 before the first.
        var lastCommit: UInt64 = 0
        var output: GuestOutput?
        var writes: WriteQueue?
        var transmission: EpochTransmission?
        var isOver = false
        /// Somebody is about to take the machine over from this session.
        var hasHeir = false
        /// An heir waits for the end of this session.
        var retireAsked = false
        var lastRound = MonotonicClock.now
        var error: HostDaemonError?
    }

    let name: String
    let request: ProtectRequest
    let qmpPath: String
    let context: HostContext
    let mailbox: Mailbox<Message>
    let shared: Mutex<Shared>
    let timing: ProtocolTiming

    var machine: MachineDescription?
    var qmp: QMPClient?
    var processDescriptor: CInt = -1
    var gate: SaveGate?
    var channel: ControlChannel?
    var stream: SealedStream?
    var tracker: DirtyTracker?
    var copier: PageCopier?
    var engine: CheckpointEngine?
    var sender: EpochSender?
    /// The replication of the guest's disks; nil when it has none.
    var disks: DiskReplication?
    /// When the overlays of shared disks were last looked at.
    var overlaysSeen: UInt64 = 0
    /// The operator was told that a shared image takes nothing.
    var imagesAreSlow = false
    /// Why the gate could not be opened though it may be.
    var openingTrouble: String?
    /// The session is over, and nobody goes round any more.
    var isLettingGo = false
    /// The images were to be left, and a write to them did not end.
    var imagesAreStuck = false
    /// Where the backup keeps their copies, in their order.
    var diskPaths: [String] = []
    /// The gates of all network cards: prepared, closed, opened and removed together.
    var output: GuestOutput?
    var gateIsClosed = false
    /// The taps and netdevs whose gates a daemon before this one left; see `GuestPorts`.
    var leftoverTaps: [String] = []
    /// What the next daemon would find of this session; nil before anything was written.
    var saved: SessionRecord?
    var arbiter: ArbiterWorker?
    var core: PrimaryProtocol
    var pacer: CheckpointPacer
    var standbyIsPrepared = false
    var rehearsalIsOver = false
    var cutAt: [UInt64: UInt64] = [:]
    /// Finds the epochs' length; nil when it is fixed.
    var autopilot: Autopilot?
    var pacing: EpochDecision
    var regime = Regime()
    /// A frame of the epoch under way is held back.
    var outputWaits = false
    var sealedEpoch: UInt64 = 0
    var cutPages: [UInt64: Int] = [:]
    var lastCut: UInt64 = 0
    var isRetired = false
    /// Nothing is held back yet: whatever fails, the guest goes on as it was.
    var isEstablishing = true
    /// The guest is kept stopped by SIGSTOP.
    var isHeld = false
    var pending: [Message] = []
    var monitorLostAt: UInt64?
    /// Bytes handed to the link when they last became more, and when that was.
    var linkProgress: (bytes: UInt64, at: UInt64) = (0, 0)
    var gateWatch: GateWatch?
    /// When QEMU was last asked for the filters that hold output inside it.
    var filtersSeen: UInt64 = 0
    /// Why the backup was lost, for whoever waits.
    var lossMessage: String?
    /// This session's place in the heartbeat service.
    var beat: UInt64?
    var deferredFailure: HostDaemonError?
    var guestHasEnded = false
    /// The switchover that was asked for, until it is settled.
    var ticket: SwitchoverTicket?
    /// Takes the guest's input to the host that goes on with it, from the switchover's preparation on.
    var input: InputForwarding?
    /// When the backup said that its guest runs.
    var winnerHeardAt: UInt64?
    var wasSkipped = false
    /// The machine may be another one than that which was protected: its devices are compared when it runs on alone.
    var mayHaveChanged = false
    /// Why this protection began by itself; nil when the operator asked for it.
    let occasion: RenewedProtection.Occasion?
    /// The images that the backup's own guest had before this host took over from it.
    var formerDisks: FormerDisks?
    /// What the guest's clock has lost here, and the last reason why that was not taken back.
    var clock: ClockDebt
    var clockTold: String?
    /// The operator wants this protection to end, in whatever state that word met it.
    var unprotectAsked = false
    /// Kept so that a QEMU which this daemon started itself is reaped when it ends.
    let ownProcess: StandbyProcess?
    /// What the session before this one leaves to it, when the guest ran here alone; set before `start`.
    var predecessor: Predecessor?

    init(
        request: ProtectRequest, qmpPath: String, ownProcess: StandbyProcess?, context: HostContext,
        occasion: RenewedProtection.Occasion? = nil
    ) throws(HostDaemonError) {
        self.occasion = occasion
        name = request.name
        self.request = request
        self.qmpPath = qmpPath
        self.ownProcess = ownProcess
        self.context = context
        mailbox = try Mailbox()
        timing = context.timing(detection: context.detectionNanoseconds)
        clock = ClockDebt(step: UInt64(context.configuration.clockStepMilliseconds * 1e6))
        var status = MachineStatus(name: request.name, role: .primary, state: .starting, protected: false, message: "examining the machine")
        status.peer = request.backup
        status.intervalMilliseconds = request.intervalMilliseconds > 0 ? request.intervalMilliseconds : nil
        shared = Mutex(Shared(status: status))
        let now = MonotonicClock.now
        core = PrimaryProtocol(
            PrimaryConfiguration(
                host: context.configuration.name, backup: request.backup, sessionNonce: UInt64.random(in: .min ... .max),
                nonceSeed: (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max)), timing: timing), now: now)
        autopilot = Self.autopilot(for: request, context.configuration)
        pacing =
            autopilot?.decide(outputWaits: false)
            ?? EpochDecision(interval: UInt64(request.intervalMilliseconds * 1e6), reason: .fixed)
        pacer = CheckpointPacer(interval: pacing.interval, limit: timing.detection, ownPause: timing.ownPause)
    }

    /// For a guest that this host took over; begin with `takeUp`.
    convenience init(takenOver machine: TakenOverMachine, context: HostContext) throws(HostDaemonError) {
        var request = ProtectRequest(
            name: machine.name, qmp: machine.qmp, backup: machine.formerPrimary, intervalMilliseconds: machine.intervalMilliseconds)
        request.sharedDisks = machine.sharedDisks
        try self.init(request: request, qmpPath: machine.qmp, ownProcess: machine.process, context: context)
        formerDisks = machine.formerDisks
        clock.add(machine.clockLost)
    }

    /// Looks after a guest that this host took over and that has no backup.
    func takeUp(_ machine: TakenOverMachine) throws(HostDaemonError) {
        publish(
            .unprotected,
            "took over from \(machine.formerPrimary) and runs here WITHOUT a backup: `understudy protect \(name) --backup \(machine.formerPrimary)`"
        ) {
            $0.takeover = machine.times
            $0.epoch = machine.epoch
            $0.generation = machine.record.generation
            $0.taps = machine.taps
            $0.qemu = QEMUStatus(pid: machine.pid, version: machine.version, qmp: self.qmpPath)
        }
        try DedicatedThread(name: "session", urgent: true) { [self] in
            run { () throws(HostDaemonError) in try lookAfter(machine) }
        }
    }

    /// Begins on a thread of its own.
    func start() throws(HostDaemonError) {
        do throws(HostDaemonError) {
            try DedicatedThread(name: "session", urgent: true) { [self] in
                run { () throws(HostDaemonError) in try establish() }
            }
        } catch {
            publish(.failed, error.message)
            shared.withLock { $0.isOver = true }
            throw error
        }
    }

    /// Takes up a machine whose gate an earlier daemon left closed: nothing opens before the arbiter has spoken.
    func recover(_ record: SessionRecord) throws(HostDaemonError) {
        try DedicatedThread(name: "session", urgent: true) { [self] in
            run { () throws(HostDaemonError) in try reopen(record) }
        }
    }

    var isOver: Bool { shared.withLock { $0.isOver } }

    /// True when a new `protect` may take the machine over from this session.
    var isReplaceable: Bool { shared.withLock { $0.isOver || $0.status.state == .unprotected } }

    func cancel() { mailbox.post(.cancel) }

    /// True for a protection for which nobody but ``Reprotection`` waits.
    var isAutomatic: Bool { occasion == .search }

    /// Gives up a protection that began by itself and has not come about, so that the operator's own can begin.
    func giveWay() {
        guard isAutomatic, [.starting, .synchronising].contains(status.state) else { return }
        mailbox.post(.giveWay)
        wait { $0.isOver || ![.starting, .synchronising].contains($0.status.state) }
    }

    /// Lets go of an unprotected machine, so that another session can take it.
    func retire() throws(HostDaemonError) {
        try claim()
        shared.withLock { $0.retireAsked = true }
        mailbox.post(.retire)
        guard wait(until: { $0.isOver }) else {
            shared.withLock { ($0.hasHeir, $0.retireAsked) = (false, false) }
            throw HostDaemonError(.busy, "the session that looks after \(name) is busy: \(status.message). Try again")
        }
    }

    /// One caller ends the session, be it for an heir or for good: another one is told to come again.
    private func claim() throws(HostDaemonError) {
        let isFirst = shared.withLock { shared in
            defer { shared.hasHeir = true }
            return !shared.hasHeir
        }
        guard isFirst else { throw MachineRegistry.busy(name) }
    }

    func unprotect() throws(HostDaemonError) {
        try claim()
        var isDone = false
        defer { if !isDone { shared.withLock { $0.hasHeir = false } } }
        // What became of an earlier attempt is no answer to this one.
        shared.withLock { $0.error = nil }
        mailbox.post(.unprotect)
        guard wait(until: { $0.isOver }) else {
            throw HostDaemonError(
                .busy,
                "\(name) is still protected: \(status.message). The arbiter must agree before the gate opens; look at `understudy events`")
        }
        if let error = shared.withLock({ $0.error }) { throw error }
        isDone = true
    }

    /// Changes how checkpoints are compressed, from the next one on, until this protection ends.
    func set(_ compression: CompressionMode) throws(HostDaemonError) {
        guard let transmission = shared.withLock({ $0.transmission }) else {
            throw HostDaemonError(.refused, "\(name) is not protected now: `understudy protect --compression` says how it shall be")
        }
        transmission.mode.withLock { $0 = compression }
        report("compression", "checkpoints are compressed by the mode \(compression.rawValue) now")
    }

    @discardableResult
    private func wait(seconds: Double = 20, until condition: (borrowing Shared) -> Bool) -> Bool {
        let end = MonotonicClock.now + UInt64(seconds * 1e9)
        while !shared.withLock({ condition($0) }) {
            guard MonotonicClock.now < end else { return false }
            usleep(2_000)
        }
        return true
    }

    var standstill: UInt64 { isOver ? 0 : progressAge }

    /// The silence of the backup that is borne now, in nanoseconds, for the heartbeat; nil before it was first heard.
    var silenceLimit: UInt64? { shared.withLock { $0.status.silenceLimitMilliseconds.map { UInt64(max(0, $0) * 1e6) } } }

    /// How long the session thread has not gone round, for the heartbeat; 0 while nobody depends on it.
    var progressAge: UInt64 {
        shared.withLock { shared in
            guard shared.status.state == .protected else { return 0 }
            let now = MonotonicClock.now
            return now > shared.lastRound ? now - shared.lastRound : 0
        }
    }

    private func run(_ begin: () throws(HostDaemonError) -> Void) {
        do throws(HostDaemonError) {
            try begin()
            try protect()
        } catch {
            giveUp(error)
        }
        letGo()
        failSwitchover(.refused, "the session of \(name) ended: \(status.message)")
        shared.withLock { shared in
            shared.isOver = true
            if ![.ended, .failed, .unprotected].contains(shared.status.state) { shared.status.state = .ended }
            if isRetired { shared.status.state = .ended }
        }
    }

    func report(_ kind: String, _ message: String, level: EventLevel = .notice, fields: [String: String] = [:]) {
        context.events.record(kind, machine: name, message, level: level, fields: fields)
    }

    func publish(_ state: MachineStatus.State? = nil, _ message: String? = nil, _ change: (inout MachineStatus) -> Void = { _ in }) {
        shared.withLock { shared in
            if let state {
                shared.status.state = state
                shared.status.protected = state == .protected
                if state != .unprotected { shared.status.reprotection = nil }
            }
            if let message { shared.status.message = message }
            change(&shared.status)
        }
    }
}
