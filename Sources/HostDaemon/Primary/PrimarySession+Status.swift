internal import HostAPI
internal import OutputRelay
internal import Synchronization
internal import UnderstudyCore

/// What others are told of the session: status and metrics.
extension PrimarySession {
    var status: MachineStatus {
        let (snapshot, output, writes) = shared.withLock { shared in
            var status = shared.status
            status.compression = shared.transmission?.status
            if shared.clockLost > 0 {
                status.clock = ClockStatus(
                    lostSeconds: Double(shared.clockLost) / 1e9, correctedSeconds: status.clock?.correctedSeconds ?? 0,
                    reason: status.clock?.reason)
            }
            if shared.checkpoints > 0 {
                status.checkpoints = CheckpointStatistics(
                    count: shared.checkpoints, pauseMilliseconds: shared.pause.quantiles, epochMilliseconds: shared.epoch.quantiles,
                    commitMilliseconds: shared.commit.quantiles, dirtyPages: shared.dirty.quantiles,
                    deviceStateBytes: shared.deviceStateBytes)
                status.pacing = pacingStatus(shared)
            }
            return (status, shared.output, shared.writes)
        }
        var status = snapshot
        status.output = Self.statistics(of: output)
        status.disks = Self.disks(snapshot.disks, writes)
        return status
    }

    private func pacingStatus(_ shared: borrowing Shared) -> PacingStatus {
        PacingStatus(
            isAutomatic: request.intervalMilliseconds == 0, intervalMilliseconds: shared.decision.milliseconds,
            reason: shared.decision.reason.rawValue,
            decisions: shared.decisions)
    }

    private static func disks(_ disks: [DiskStatus]?, _ writes: WriteQueue?) -> [DiskStatus]? {
        guard let backlog = writes?.backlog else { return disks }
        return disks?.map { disk in
            var disk = disk
            disk.backlogBytes = backlog.bytes
            disk.replicatedBytes = backlog.sentBytes
            return disk
        }
    }

    private static func statistics(of output: GuestOutput?) -> OutputStatistics? {
        // A gate that just went away has no numbers any more; that is no error of the machine.
        guard let output, let numbers = try? output.statistics() else { return nil }
        return OutputStatistics(cards: zip(output.relays, numbers).map { CardOutputStatistics($0, $1) })
    }

    var metrics: MachineMetrics {
        let (metrics, output, writes) = shared.withLock { shared in
            var metrics = MachineMetrics(status: shared.status)
            guard shared.checkpoints > 0 else { return (metrics, shared.output, shared.writes) }
            metrics.checkpoints = shared.checkpoints
            metrics.clockLostSeconds = Double(shared.clockLost) / 1e9
            metrics.histograms = shared.histograms
            metrics.sentBytes = shared.sentBytes
            metrics.status.compression = shared.transmission?.status
            metrics.deviceStateBytes = shared.deviceStateBytes
            metrics.decisions = shared.decisions
            let now = MonotonicClock.now
            if shared.lastCommit > 0 { metrics.lastCommitAge = Double(now - min(shared.lastCommit, now)) / 1e9 }
            return (metrics, shared.output, shared.writes)
        }
        var whole = metrics
        whole.output = Self.statistics(of: output)
        whole.status.disks = Self.disks(metrics.status.disks, writes)
        return whole
    }
}

extension CardOutputStatistics {
    fileprivate init(_ gate: any CardGate, _ numbers: OutputRelayStatistics) {
        self.init(
            tap: gate.port, kind: gate.kind, heldFrames: UInt64(numbers.heldFrames), heldBytes: UInt64(numbers.heldBytes),
            releasedFrames: numbers.releasedFrames,
            droppedFrames: numbers.droppedFrames, lastReleaseNanoseconds: numbers.lastReleaseTime ?? 0)
    }
}
