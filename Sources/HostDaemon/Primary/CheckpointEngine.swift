internal import GuestMemory
internal import Hypervisor
internal import OutputRelay
internal import UnderstudyCore

/// Takes a checkpoint of a running guest: cut, seal, scan, copy, resume. `docs/architecture.md` draws the sequence.
///
/// Owned by the session thread. After `cut` returns, the epoch lies in `arena`, `runs` and `deviceState` until the next call, so it is
/// called again only when the epoch before has been sent.
final class CheckpointEngine {
    /// What one checkpoint found and how long its parts took.
    struct Cut {
        var dirtyPages: Int
        var deviceStateBytes: Int
        /// Monotonic nanoseconds at which the guest was stopped.
        var stoppedAt: UInt64
        /// Nanoseconds from the command to the cut point.
        var reach: UInt64
        var seal: UInt64
        var scan: UInt64
        var copy: UInt64
        var drain: UInt64
        /// QEMU's STOP to RESUME, in microseconds, when both events have come and are plausible.
        var pauseMicroseconds: Int64?

        /// QEMU stamps its events with the time of day, which may jump between the two: a pause that is negative, or longer than the whole
        /// checkpoint took by the monotonic clock, was not measured.
        ///
        /// - Parameter nanoseconds: from the command to the end of the save.
        static func plausible(_ pauseMicroseconds: Int64?, within nanoseconds: UInt64) -> Int64? {
            guard let pauseMicroseconds, pauseMicroseconds >= 0, UInt64(pauseMicroseconds) <= nanoseconds / 1000 + 1 else { return nil }
            return pauseMicroseconds
        }
    }

    enum Outcome {
        case cut(Cut)
        /// QEMU did not stop the guest; nothing happened.
        case skipped(reason: String)
        /// The guest changed more memory than the staging arena holds. It runs again; its epoch is lost.
        case tooLarge(pages: Int)
        /// QEMU gave no sign within the limit.
        case hung(GuestFailure)
        /// The epoch is lost, the guest runs on. The next one starts from all of memory.
        case aborted(reason: String)
    }

    let arena: StagingArena
    let runs: PageRunList
    let deviceState: StagingArena
    private let gate: SaveGate
    private let tracker: DirtyTracker
    private let copier: PageCopier
    private let faults: FaultPoints
    /// How long QEMU may take to stop the guest, and to end the save.
    var limit: Duration

    /// The largest device state, in bytes: a q35 machine with one network card has 80 KiB.
    private static let deviceStateLimit = 64 << 20
    /// Kept ready of the arenas, in bytes: 16,384 pages and the device state of a large machine.
    private static let readyPages = 64 << 20
    private static let readyDeviceState = 1 << 20

    init(
        gate: SaveGate, tracker: DirtyTracker, copier: PageCopier, stagingBytes: Int, limit: Duration, faults: FaultPoints
    ) throws(HostDaemonError) {
        arena = try StagingArena(byteCount: stagingBytes, ready: Self.readyPages)
        deviceState = try StagingArena(byteCount: Self.deviceStateLimit, ready: Self.readyDeviceState)
        runs = PageRunList(covering: tracker.blocks)
        self.gate = gate
        self.tracker = tracker
        self.copier = copier
        self.limit = limit
        self.faults = faults
    }

    /// Stops the guest, takes the checkpoint and lets the guest run again.
    ///
    /// - Parameters:
    ///   - seal: called while the guest is stopped, right after the cut point: closes or seals the output gate.
    ///   - unseal: called when the epoch is lost after `seal`.
    ///   - holding: the guest stays stopped after a successful cut, and runs again after any other outcome; called when it was stopped.
    ///   - witness: called when everything is copied and the guest still stands, for whoever compares memories.
    func cut(
        holding: (() -> Void)? = nil, seal: () throws(HostDaemonError) -> Void, unseal: () -> Void, witness: (() -> Void)? = nil
    ) throws(HostDaemonError) -> Outcome {
        let asked = MonotonicClock.now
        faults.pass(.checkpointAsked)
        if let other = try reachCut(holding) { return other }
        let stopped = MonotonicClock.now
        faults.pass(.checkpointStopped)
        do {
            try seal()
        } catch {
            abort()
            throw error
        }
        let sealed = MonotonicClock.now
        faults.pass(.checkpointSealed)
        return try collect(asked: asked, stopped: stopped, sealed: sealed, unseal: unseal, witness: witness)
    }

    private func reachCut(_ holding: (() -> Void)?) throws(HostDaemonError) -> Outcome? {
        do throws(HypervisorError) {
            if gate.needsRenewal { try gate.renew() }
            guard gate.status == .running else {
                let status = try gate.refreshStatus(timeout: limit)
                guard status == .running else { return .skipped(reason: "the guest is not running but \(status.name)") }
                return try reachCutOfRunning(holding)
            }
            return try reachCutOfRunning(holding)
        } catch {
            return try outcome(of: error, stage: .noCutPoint)
        }
    }

    private func reachCutOfRunning(_ holding: (() -> Void)?) throws(HypervisorError) -> Outcome? {
        try gate.begin(holding: holding != nil, timeout: limit) { holding?() }
        switch try gate.waitForCut(timeout: limit) {
        case .cut: return nil
        case .refused(let reason): return .skipped(reason: reason)
        }
    }

    private func collect(
        asked: UInt64, stopped: UInt64, sealed: UInt64, unseal: () -> Void, witness: (() -> Void)?
    ) throws(HostDaemonError) -> Outcome {
        let pages: Int
        let scanned: UInt64
        do throws(GuestMemoryError) {
            pages = try tracker.scan(into: runs)
            scanned = MonotonicClock.now
            faults.pass(.checkpointScanned)
            guard pages * GuestPage.size <= arena.bytes.count else {
                lose(unseal)
                return .tooLarge(pages: pages)
            }
            try copier.copy(runs: runs.runs, into: arena.bytes.baseAddress!)
        } catch {
            lose(unseal)
            guard error.code != .processGone else { return .aborted(reason: "QEMU is gone") }
            throw HostDaemonError(.guest, "the guest's memory cannot be read: \(error.message)", cause: error)
        }
        let copied = MonotonicClock.now
        faults.pass(.checkpointCopied)
        witness?()
        do throws(HypervisorError) {
            let saved = try gate.drain(into: deviceState.bytes, timeout: limit)
            faults.pass(.checkpointResumed)
            let ended = MonotonicClock.now
            return .cut(
                Cut(
                    dirtyPages: pages, deviceStateBytes: saved.byteCount, stoppedAt: stopped, reach: stopped - asked,
                    seal: sealed - stopped,
                    scan: scanned - sealed, copy: copied - scanned, drain: ended - copied,
                    pauseMicroseconds: Cut.plausible(saved.pauseMicroseconds, within: ended - asked)))
        } catch {
            lose(unseal)
            return try outcome(of: error, stage: .saveDidNotEnd)
        }
    }

    /// The epoch of the last cut is not sent: the next one starts from all of memory.
    func discard() { tracker.restart() }

    /// Lets the guest go without a checkpoint.
    private func lose(_ unseal: () -> Void) {
        unseal()
        abort()
    }

    private func abort() {
        gate.abandon()
        tracker.restart()
    }

    private func outcome(of error: HypervisorError, stage: GuestFailure) throws(HostDaemonError) -> Outcome {
        switch error.code {
        case .timeout:
            abort()
            return .hung(stage)
        case .qemuGone: return .aborted(reason: "QEMU is gone")
        case .notRunning: return .skipped(reason: error.message)
        case .saveFailed, .gateViolated, .gateNotReady:
            abort()
            return .aborted(reason: error.message)
        default: throw HostDaemonError(.guest, "QEMU's state cannot be saved: \(error.message)", cause: error)
        }
    }
}
