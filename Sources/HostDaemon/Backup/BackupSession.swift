internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import Logging
internal import OutputRelay
internal import Synchronization
internal import UnderstudyCore

/// One machine whose standby waits on this host: from a primary's wish until the standby is gone, or is the guest.
///
/// One thread of its own goes round events and the pure `BackupProtocol`; `EpochReceiver` stages and applies on another.
final class BackupSession: MachineSession, @unchecked Sendable {
    // SAFETY: the variables below belong to the session thread, which `start` makes; other threads use `mailbox`, `shared` and constants only.
    enum Message: Sendable {
        case control(ControlMessage)
        case channelClosed(String)
        case arbiter(UInt64, ArbiterReply)
        case stream(SealedStream, WireMessage.Hello)
        case received(EpochReceiver.Event)
        case diskStream(SealedStream, WireMessage.Hello)
        case disks(DiskStore.Event)
        /// So many frames for the guest were lost, and why.
        case inputLost(Int, String)
    }

    /// What other threads may see.
    struct Shared {
        var status: MachineStatus
        var isOver = false
        var lastRound = MonotonicClock.now
        var condition = BackupCondition.preparing
        /// Monotonic nanoseconds at which the last epoch was applied; 0 before the first.
        var lastCommit: UInt64 = 0
    }

    let name: String
    let preparation: Preparation
    let context: HostContext
    let mailbox: Mailbox<Message>
    let shared: Mutex<Shared>
    let channel: ControlChannel
    let listeners: SessionKeys
    let folder: String

    var core: BackupProtocol
    var arbiter: ArbiterWorker?
    var standby: StandbyProcess?
    var rehearsal: StandbyProcess?
    /// One per network card.
    var taps: [StandbyTap] = []
    /// The names of all its cards' ends here; see `GuestPorts`.
    var ports: [String] = []
    var receiver: EpochReceiver?
    var stream: SealedStream?
    /// The copies of the machine's disks; nil when it has none.
    var disks: DiskStore?
    /// Where they lie, in the disks' order.
    var diskPaths: [String] = []
    /// What the operator must know of their places.
    var diskWarnings: [String] = []
    /// The last entry of each epoch whose disk writes are all here, and the bytes that had come by then.
    var stagedDisks: [UInt64: (entry: UInt64, bytes: UInt64)] = [:]
    /// Bytes of disk writes that belong to committed epochs, since the beginning.
    var committedDiskBytes: UInt64 = 0
    /// Says when images that both hosts see may be written; nil when there are none.
    var fence: Fence?
    /// The takeover waits for it.
    var awaitsFencing = false
    var fenceTrouble: String?
    /// The epoch whose memory and devices are all here and wait for the rest.
    var stagedMemory: EpochIdentity?
    var beat: UInt64?
    /// What had come on the checkpoint stream when it was last looked at.
    var streamedBytes: UInt64 = 0
    var channelIsOpen = true
    /// The guest runs and belongs to a primary's session now.
    var isPromoted = false
    var acknowledges = true
    var times = TakeoverClock()
    /// What the primary said with a planned switchover.
    var order: SwitchoverOrder?
    /// What came for the guest at its old host.
    let input = Mutex(MovedInput())

    init(preparation: Preparation, channel: ControlChannel, keys: SessionKeys, context: HostContext) throws(HostDaemonError) {
        name = preparation.name
        self.preparation = preparation
        self.channel = channel
        self.context = context
        listeners = keys
        mailbox = try Mailbox()
        folder = OrphanedStandby.folder(of: preparation.name, in: context.configuration.runtimeFolder)
        var status = MachineStatus(
            name: preparation.name, role: .backup, state: .starting, protected: false, message: "preparing a standby")
        status.peer = preparation.primary
        status.generation = preparation.record.generation
        shared = Mutex(Shared(status: status))
        core = BackupProtocol(
            BackupConfiguration(
                host: context.configuration.name, record: preparation.record, sessionNonce: preparation.sessionNonce,
                nonceSeed: (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max)),
                timing: context.timing(detection: preparation.detectionNanoseconds)), now: MonotonicClock.now)
    }

    /// Begins on a thread of its own, once the registry has taken the name.
    ///
    /// - Parameter ended: called as the last thing that the thread does.
    func start(in registry: MachineRegistry, ended: @escaping @Sendable () -> Void) throws(HostDaemonError) {
        try DedicatedThread(name: "standby") { [self] in
            do throws(HostDaemonError) {
                try enter(registry)
                try prepare()
                DedicatedThread.becomeUrgent()
                goRound()
            } catch {
                refuse(error)
            }
            letGo()
            shared.withLock { $0.isOver = true }
            ended()
        }
    }

    /// A session of the same machine that is just ending gets the time to: its primary went on alone a moment ago, or this daemon has just
    /// started and learns from the arbiter that the guest which it ran before belongs to the other host.
    private func enter(_ registry: MachineRegistry) throws(HostDaemonError) {
        let end = MonotonicClock.now + 5_000_000_000
        while true {
            do throws(HostDaemonError) {
                return try registry.add(self)
            } catch {
                guard Self.mayBeEnding(registry[name]), MonotonicClock.now < end else { throw error }
                usleep(20_000)
            }
        }
    }

    private static func mayBeEnding(_ present: (any MachineSession)?) -> Bool {
        guard let present else { return true }
        return present is BackupSession || present is TakeoverSession || [.deciding, .lost, .ended, .failed].contains(present.status.state)
    }

    var isOver: Bool { shared.withLock { $0.isOver } }
    var status: MachineStatus { shared.withLock { $0.status } }

    func unprotect() throws(HostDaemonError) {
        throw HostDaemonError(.refused, "\(name) is only backed up here: unprotect it on \(preparation.primary), which runs it")
    }

    var metrics: MachineMetrics {
        shared.withLock { shared in
            var metrics = MachineMetrics(status: shared.status)
            let now = MonotonicClock.now
            if shared.lastCommit > 0 { metrics.lastCommitAge = Double(now - min(shared.lastCommit, now)) / 1e9 }
            return metrics
        }
    }

    /// While a standby is being prepared or a guest was handed on, the thread does other things or is gone.
    var standstill: UInt64 {
        let isAtWork = shared.withLock { shared in
            if case .preparing = shared.condition { return false }
            return !shared.isOver
        }
        return isAtWork ? progressAge : 0
    }

    func switchover(_ request: SwitchoverRequest, goOn: () -> Bool) throws(HostDaemonError) -> SwitchoverReport {
        throw HostDaemonError(.refused, "\(name) is only backed up here: switch it over on \(preparation.primary), which runs it")
    }

    var progressAge: UInt64 {
        let now = MonotonicClock.now
        return shared.withLock { now > $0.lastRound ? now - $0.lastRound : 0 }
    }

    func report(_ kind: String, _ message: String, level: EventLevel = .notice, fields: [String: String] = [:]) {
        context.events.record(kind, machine: name, message, level: level, fields: fields)
    }

    func publish(_ state: MachineStatus.State? = nil, _ message: String? = nil, _ change: (inout MachineStatus) -> Void = { _ in }) {
        shared.withLock { shared in
            if let state { shared.status.state = state }
            if let message { shared.status.message = message }
            change(&shared.status)
        }
    }

    func send(_ message: ControlMessage) {
        guard channelIsOpen else { return }
        do throws(LinkError) {
            try channel.send(message.encoded())
        } catch {
            // The channel's end is an event of its own.
            report("control", "a message to \(preparation.primary) was not sent: \(error.message)", level: .debug)
        }
    }

    private func refuse(_ error: HostDaemonError) {
        report("refused", error.description, level: .error)
        send(.refused(message: error.description))
        publish(.failed, error.description)
    }
}

/// When the parts of a takeover began, monotonic nanoseconds.
struct TakeoverClock {
    var lastHeard: UInt64 = 0
    var suspected: UInt64 = 0
    var decided: UInt64 = 0
    var reason = ""
}
