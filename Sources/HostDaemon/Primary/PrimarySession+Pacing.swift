internal import HostAPI
internal import Logging
internal import OutputRelay
internal import Synchronization
internal import UnderstudyCore

/// The length of the epochs: what the operator fixed, or what the autopilot finds.
extension PrimarySession {
    static func autopilot(for request: ProtectRequest, _ configuration: DaemonConfiguration) -> Autopilot? {
        guard request.intervalMilliseconds == 0 else { return nil }
        var targets = configuration.autopilot.targets
        if let wanted = request.latencyTargetMilliseconds { targets.latency = UInt64(wanted * 1e6) }
        if let wanted = request.overheadTargetPercent { targets.overhead = wanted / 100 }
        return Autopilot(targets: targets, stagingPages: configuration.stagingMebibytes * 256)
    }

    /// Sets how long the epoch under way may last. The last epoch before a planned move is awaited like output.
    func pace() {
        guard let autopilot else { return }
        pacing = autopilot.decide(outputWaits: outputWaits || core.holdsAtNextCut)
        pacer.interval = pacing.interval
    }

    /// Called by the threads that hold frames back; nil where nobody wants to know.
    var onOutput: (@Sendable (UInt64) -> Void)? {
        guard autopilot != nil else { return nil }
        return { [mailbox] epoch in mailbox.post(.outputWaits(after: epoch)) }
    }

    /// A frame of an epoch after this one is held back. What was sealed meanwhile waits for no cut any more.
    func outputWaits(after sealed: UInt64) {
        if sealed >= sealedEpoch { outputWaits = true }
    }

    /// The cut has come: what is held back from here on belongs to the next epoch.
    func sealed(_ epoch: UInt64) {
        sealedEpoch = epoch
        outputWaits = false
    }

    /// The epoch is lost, and its output waits for the next one.
    func unsealed(_ epoch: UInt64) {
        sealedEpoch = epoch - min(epoch, 1)
        outputWaits = true
    }

    /// Why the cut that begins now comes now.
    func noteDecision() {
        let reason = pacer.isLate ? .acknowledgement : pacing.reason
        let interval = Double(pacing.interval) / 1e6
        shared.withLock { shared in
            shared.decisions[reason.rawValue, default: 0] += 1
            shared.decision = (reason, interval)
        }
        tellRegime(reason)
    }

    func observe(_ cut: CheckpointEngine.Cut, epoch: UInt64, previous: UInt64) {
        guard autopilot != nil, previous > 0 else { return }
        cutPages[epoch] = cut.dirtyPages
        let pause = cut.pauseMicroseconds.map { UInt64(max(0, $0)) * 1000 } ?? 0
        autopilot?.observeCut(length: cut.stoppedAt - min(previous, cut.stoppedAt), pause: pause, pages: cut.dirtyPages)
    }

    func observeCommit(of epoch: UInt64, after nanoseconds: UInt64) {
        guard let pages = cutPages.removeValue(forKey: epoch) else { return }
        autopilot?.observeCommit(after: nanoseconds, pages: pages)
    }

    /// An event when most epochs are decided for another reason than before: told once per ten seconds at most.
    private func tellRegime(_ reason: EpochDecision.Reason) {
        guard autopilot != nil else { return }
        regime.count(reason)
        let now = MonotonicClock.now
        guard now - min(regime.begun, now) >= Self.regimeTime else { return }
        let (main, old) = (regime.main, regime.told)
        regime = Regime(begun: now, told: main)
        guard let main, main != old else { return }
        report("pacing", "the epochs' length is now mostly decided by: \(main.sentence)", level: .debug, fields: ["reason": main.rawValue])
    }

    private static let regimeTime: UInt64 = 10_000_000_000

    /// Which reason most epochs of the last seconds had.
    struct Regime {
        var begun = MonotonicClock.now
        var told: EpochDecision.Reason?
        private var counts: [EpochDecision.Reason: Int] = [:]

        init(begun: UInt64 = MonotonicClock.now, told: EpochDecision.Reason? = nil) {
            self.begun = begun
            self.told = told
        }

        mutating func count(_ reason: EpochDecision.Reason) { counts[reason, default: 0] += 1 }

        var main: EpochDecision.Reason? { counts.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }?.key }
    }
}

extension EpochDecision.Reason {
    /// For the operator.
    var sentence: String {
        switch self {
        case .fixed: "the interval that was asked for"
        case .outputWaits: "output waits, checkpoints come as often as they may"
        case .pauseShare: "output waits, and the share of time that the guest may stand still"
        case .quiet: "no output waits, epochs are as long as they may be"
        case .commitTime: "no output waits, and the time that a commit may take"
        case .room: "no output waits, and the room of `staging-mib`"
        case .acknowledgement: "the backup's acknowledgements: link or backup are slower than the checkpoints"
        }
    }
}
