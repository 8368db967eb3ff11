/// Everything a host knows about its machines: the document behind `understudy status --json`.
public struct HostStatus: Codable, Sendable, Equatable {
    public var host: String
    public var version: String
    public var machines: [MachineStatus]
    /// The certificates by which this host and its authority are known, with their ends.
    public var certificates: [CertificateStatus]?

    public init(host: String, version: String, machines: [MachineStatus], certificates: [CertificateStatus]? = nil) {
        self.host = host
        self.version = version
        self.machines = machines
        self.certificates = certificates
    }
}

/// The state of one machine on this host.
public struct MachineStatus: Codable, Sendable, Equatable {
    public var name: String
    public var role: Role
    public var state: State
    /// True while the death of the host that runs the guest would be survived.
    public var protected: Bool
    /// One sentence for the operator: what is the case and, when something is wrong, what to do.
    public var message: String
    /// The other host of the pair.
    public var peer: String?
    public var generation: UInt64
    /// The last committed epoch.
    public var epoch: UInt64
    /// The length of an epoch where it is fixed.
    public var intervalMilliseconds: Double?
    public var qemu: QEMUStatus?
    /// The host's interfaces behind the guest's network cards, in the cards' order.
    public var taps: [String]
    public var checkpoints: CheckpointStatistics?
    /// What decides when an epoch ends; nil before the first.
    public var pacing: PacingStatus?
    public var output: OutputStatistics?
    public var synchronisation: SynchronisationProgress?
    public var takeover: TakeoverTimes?
    /// What the guest's clock has lost in pauses on this host; nil before the first.
    public var clock: ClockStatus?
    /// The silence of the other host after which it is suspected, as its signs of life come now; nil before the first.
    public var silenceLimitMilliseconds: Double?
    /// The replicated disks of a machine that runs here; nil when nothing is replicated.
    public var disks: [DiskStatus]?
    /// What compression of the checkpoint stream does; nil while nothing is sent.
    public var compression: CompressionStatus?
    /// How a backup is looked for, for a machine that runs here without one; nil when none is.
    public var reprotection: ReprotectionStatus?

    public init(name: String, role: Role, state: State, protected: Bool, message: String) {
        self.name = name
        self.role = role
        self.state = state
        self.protected = protected
        self.message = message
        generation = 0
        epoch = 0
        taps = []
    }

    public enum Role: String, Codable, Sendable {
        case primary, backup
    }

    public enum State: String, Codable, Sendable, CaseIterable {
        /// Machine and backup are being examined and prepared.
        case starting
        /// Disks and memory are being copied while the guest runs; not yet protected.
        case synchronising
        /// Every output of the guest waits for its checkpoint.
        case protected
        /// The guest runs here without a backup.
        case unprotected
        /// The arbiter is being asked who may go on.
        case deciding
        /// This backup holds a complete checkpoint and could take over.
        case standby
        /// This backup is starting the guest from the last committed checkpoint.
        case takingOver = "taking-over"
        /// This host lost the machine to its peer and keeps its guest stopped and gated.
        case lost
        /// Nothing runs here under this name any more.
        case ended
        /// Protection could not be established.
        case failed
    }
}

/// The QEMU process behind a machine.
public struct QEMUStatus: Codable, Sendable, Equatable {
    public var pid: Int32
    public var version: String
    /// The QMP socket through which the daemon drives it.
    public var qmp: String?

    public init(pid: Int32, version: String, qmp: String?) {
        self.pid = pid
        self.version = version
        self.qmp = qmp
    }
}

/// What decides when an epoch ends.
public struct PacingStatus: Codable, Sendable, Equatable {
    /// The length finds itself; false when it is fixed.
    public var isAutomatic: Bool
    /// The length that was meant for the last epoch.
    public var intervalMilliseconds: Double
    /// Why the last epoch ended when it did: `fixed`, `output-waits`, `pause-share`, `quiet`, `commit-time`, `room`, `acknowledgement`.
    public var reason: String
    /// How many epochs ended for each reason.
    public var decisions: [String: UInt64]

    public init(isAutomatic: Bool, intervalMilliseconds: Double, reason: String, decisions: [String: UInt64]) {
        self.isAutomatic = isAutomatic
        self.intervalMilliseconds = intervalMilliseconds
        self.reason = reason
        self.decisions = decisions
    }
}

/// Checkpoints since protection began; quantiles over the last 4,096.
public struct CheckpointStatistics: Codable, Sendable, Equatable {
    public var count: UInt64
    /// QEMU's STOP to RESUME events, milliseconds.
    public var pauseMilliseconds: Quantiles
    /// From one cut to the next, milliseconds.
    public var epochMilliseconds: Quantiles
    /// From the cut to the backup's acknowledgement, milliseconds.
    public var commitMilliseconds: Quantiles
    public var dirtyPages: Quantiles
    /// Bytes of the last device state.
    public var deviceStateBytes: Int

    public init(
        count: UInt64, pauseMilliseconds: Quantiles, epochMilliseconds: Quantiles, commitMilliseconds: Quantiles, dirtyPages: Quantiles,
        deviceStateBytes: Int
    ) {
        self.count = count
        self.pauseMilliseconds = pauseMilliseconds
        self.epochMilliseconds = epochMilliseconds
        self.commitMilliseconds = commitMilliseconds
        self.dirtyPages = dirtyPages
        self.deviceStateBytes = deviceStateBytes
    }
}

/// Median, 99th percentile and maximum of a sample.
public struct Quantiles: Codable, Sendable, Equatable {
    public var p50: Double
    public var p99: Double
    public var max: Double

    public init(p50: Double, p99: Double, max: Double) {
        self.p50 = p50
        self.p99 = p99
        self.max = max
    }
}

/// The output gates of a protected machine: of all its network cards together, and of each.
public struct OutputStatistics: Codable, Sendable, Equatable {
    public var heldFrames: UInt64
    public var heldBytes: UInt64
    public var releasedFrames: UInt64
    public var droppedFrames: UInt64
    /// Monotonic clock of the host, nanoseconds; zero when no frame was released yet.
    public var lastReleaseNanoseconds: UInt64
    public var cards: [CardOutputStatistics]

    public init(cards: [CardOutputStatistics]) {
        self.cards = cards
        heldFrames = cards.reduce(0) { $0 + $1.heldFrames }
        heldBytes = cards.reduce(0) { $0 + $1.heldBytes }
        releasedFrames = cards.reduce(0) { $0 + $1.releasedFrames }
        droppedFrames = cards.reduce(0) { $0 + $1.droppedFrames }
        lastReleaseNanoseconds = cards.reduce(0) { max($0, $1.lastReleaseNanoseconds) }
    }
}

/// The output gate of one network card.
public struct CardOutputStatistics: Codable, Sendable, Equatable {
    /// The host's interface behind the card, or `netdev:ID` for a netdev that is no tap.
    public var tap: String
    /// `tap`, or QEMU's word for the netdev; nil from a daemon that knew taps only.
    public var kind: String?
    public var heldFrames: UInt64
    public var heldBytes: UInt64
    public var releasedFrames: UInt64
    public var droppedFrames: UInt64
    /// Monotonic clock of the host, nanoseconds; zero when no frame was released yet.
    public var lastReleaseNanoseconds: UInt64

    public init(
        tap: String, kind: String? = nil, heldFrames: UInt64, heldBytes: UInt64, releasedFrames: UInt64, droppedFrames: UInt64,
        lastReleaseNanoseconds: UInt64
    ) {
        self.tap = tap
        self.kind = kind
        self.heldFrames = heldFrames
        self.heldBytes = heldBytes
        self.releasedFrames = releasedFrames
        self.droppedFrames = droppedFrames
        self.lastReleaseNanoseconds = lastReleaseNanoseconds
    }
}

/// A disk whose writes go to the backup.
public struct DiskStatus: Codable, Sendable, Equatable {
    public var name: String
    public var byteCount: UInt64
    /// The path of its copy on the backup host.
    public var copy: String
    /// Bytes of all disks' writes that wait for the link.
    public var backlogBytes: UInt64
    /// Bytes of all disks' writes that went to the backup since protection began, the first copy included.
    public var replicatedBytes: UInt64
    /// Bytes of this disk that its copy did not hold when protection began, or that the guest wrote during the first copy; in whole blocks.
    public var differingBytes: UInt64?
    /// Bytes of this disk that were compared and not sent, since its copy held them already.
    public var skippedBytes: UInt64?
    /// Whether both hosts see the same image, which is then what `copy` names; nil from a daemon that does not tell.
    public var shared: Bool?

    public init(name: String, byteCount: UInt64, copy: String, backlogBytes: UInt64, replicatedBytes: UInt64, shared: Bool? = nil) {
        self.shared = shared
        self.name = name
        self.byteCount = byteCount
        self.copy = copy
        self.backlogBytes = backlogBytes
        self.replicatedBytes = replicatedBytes
    }
}

/// How far the copy of the guest's disks or memory has come.
public struct SynchronisationProgress: Codable, Sendable, Equatable {
    public var phase: String
    public var round: Int
    public var sentBytes: UInt64
    public var remainingBytes: UInt64
    public var bytesPerSecond: Double
    public var remainingSeconds: Double?
    /// Bytes of the disks that were looked at; nil for memory.
    public var comparedBytes: UInt64?
    /// Bytes of the disks that the backup held already; nil for memory.
    public var skippedBytes: UInt64?

    public init(
        phase: String, round: Int, sentBytes: UInt64, remainingBytes: UInt64, bytesPerSecond: Double, remainingSeconds: Double?
    ) {
        self.phase = phase
        self.round = round
        self.sentBytes = sentBytes
        self.remainingBytes = remainingBytes
        self.bytesPerSecond = bytesPerSecond
        self.remainingSeconds = remainingSeconds
    }
}

/// A guest's clock, which stands still while the guest does.
public struct ClockStatus: Codable, Sendable, Equatable {
    /// The pauses of all checkpoints on this host, and the gap of a takeover.
    public var lostSeconds: Double
    /// What the guest's agent took back of it.
    public var correctedSeconds: Double
    /// Why the last correction was not possible.
    public var reason: String?

    public init(lostSeconds: Double, correctedSeconds: Double, reason: String?) {
        self.lostSeconds = lostSeconds
        self.correctedSeconds = correctedSeconds
        self.reason = reason
    }
}

/// The search for a backup of a machine that runs without one.
public struct ReprotectionStatus: Codable, Sendable, Equatable {
    /// The host that is tried next.
    public var backup: String
    /// Attempts since the machine was last protected for a while.
    public var attempts: Int
    /// Why the last attempt failed; nil before the first.
    public var reason: String?
    public var nextAttemptSeconds: Double

    public init(backup: String, attempts: Int, reason: String?, nextAttemptSeconds: Double) {
        self.backup = backup
        self.attempts = attempts
        self.reason = reason
        self.nextAttemptSeconds = nextAttemptSeconds
    }
}

/// The parts of a takeover on this host, milliseconds.
public struct TakeoverTimes: Codable, Sendable, Equatable {
    /// From the last sign of life of the primary to the suspicion.
    public var detectionMilliseconds: Double
    /// From the suspicion to the arbiter's answer.
    public var decisionMilliseconds: Double
    /// From the arbiter's answer to the running guest.
    public var activationMilliseconds: Double
    /// The arbiter's answer and the running guest on the host's monotonic clock, nanoseconds.
    public var decidedAtNanoseconds: UInt64
    public var runningAtNanoseconds: UInt64
    public var reason: String

    public init(
        detectionMilliseconds: Double, decisionMilliseconds: Double, activationMilliseconds: Double, decidedAtNanoseconds: UInt64,
        runningAtNanoseconds: UInt64, reason: String
    ) {
        self.decidedAtNanoseconds = decidedAtNanoseconds
        self.runningAtNanoseconds = runningAtNanoseconds
        self.detectionMilliseconds = detectionMilliseconds
        self.decisionMilliseconds = decisionMilliseconds
        self.activationMilliseconds = activationMilliseconds
        self.reason = reason
    }
}
