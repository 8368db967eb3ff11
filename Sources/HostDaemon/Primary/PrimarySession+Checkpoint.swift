internal import HostAPI
internal import Hypervisor
internal import QMP
internal import Logging
internal import OutputRelay
internal import Synchronization
internal import UnderstudyCore

/// One checkpoint of the protected guest.
extension PrimarySession {
    func checkpoint() throws(HostDaemonError) {
        guard let epoch = core.allowedCheckpoint, let engine, let sender, let output else { return }
        guard try mayBeSaved() else { return }
        guard try isArmed(output) else { return }
        engine.limit = cutLimit
        noteDecision()
        pacer.began(now: MonotonicClock.now)
        disks?.beginStop(within: timing.detection / 2)
        defer { disks?.endStop() }
        let isLast = core.holdsAtNextCut
        let outcome = try engine.cut(
            holding: isLast ? { [self] in input?.guestStopped() } : nil, seal: { () throws(HostDaemonError) in try seal(epoch, output) },
            unseal: { unseal(epoch, output) })
        let now = MonotonicClock.now
        pacer.ended(now: now)
        switch outcome {
        case .cut(let cut):
            // What the protocol does not hold now must not stay paused.
            defer { if isLast, !isHeld { unpause() } }
            pacer.cut(now: cut.stoppedAt)
            pacer.ended(now: now)
            guard try hasItsMemory(epoch, output) else { return }
            guard try hasItsDisks(epoch, output) else { return }
            record(cut, epoch: epoch)
            try happen(.epochCut(epoch))
            // The protocol opens the gate instead when the arbiter has spoken meanwhile; then nobody wants this epoch.
            guard gateIsClosed else { return }
            if let disks {
                disks.mark(identity(epoch))
                context.faults.pass(.epochMarked)
            }
            sender.send(.init(identity: identity(epoch), kind: .checkpoint), cut: cut)
        case .skipped(let reason):
            skipped(reason)
            try happen(.checkpointAbandoned(epoch))
        case .aborted(let reason):
            report("checkpoint-aborted", "checkpoint \(epoch) failed, the guest runs on: \(reason)", level: .warning)
            try happen(.checkpointAbandoned(epoch))
        case .tooLarge(let pages):
            report(
                "epoch-too-large",
                "epoch \(epoch) changed \(pages * 4 / 1024) MiB, more than `staging-mib` holds: protection is given up, the guest runs on",
                level: .error)
            try happen(.checkpointAbandoned(epoch))
            try happen(.backupLost(.stagingLimit))
        case .hung(let failure):
            report("qemu-hangs", failure.sentence, level: .error)
            try happen(.guestFailed(failure))
        }
        try readMonitor()
    }

    /// How long QEMU may take for a checkpoint. Until the first epoch is committed nobody could take over, so a busy host gets more time.
    var cutLimit: Duration {
        let isEstablishing = if case .rehearsed = core.state { true } else { isEstablishing }
        return .nanoseconds(Int64(isEstablishing ? timing.establishingCut : timing.detection))
    }

    /// Saving a device that cannot be migrated crashes QEMU, and devices come and go, so every checkpoint asks first.
    private func mayBeSaved() throws(HostDaemonError) -> Bool {
        guard let qmp else { return true }
        let reasons: [String]
        do throws(QMPError) {
            let answer = try qmp.execute("query-migrate", timeout: cutLimit)
            reasons = (answer["blocked-reasons"]?.array ?? []).map { $0.string ?? "unknown" }
        } catch {
            // A monitor that is gone shows at the save itself.
            guard error.code == .timeout else { return true }
            report("qemu-hangs", GuestFailure.noCutPoint.sentence, level: .error)
            try happen(.guestFailed(.noCutPoint))
            return false
        }
        guard !reasons.isEmpty else { return true }
        let why = reasons.joined(separator: "; ")
        report("blocked", "the machine cannot be saved any more, so protection is given up and the guest runs on: \(why)", level: .error)
        try happen(.backupLost(.refusedEpoch(reason: why)))
        return false
    }

    /// A DIMM that was plugged in is no device of its own in QEMU's state, and nobody tracks its memory, so a machine that can grow is asked
    /// after every cut whether it has. The epoch then goes nowhere.
    private func hasItsMemory(_ epoch: UInt64, _ output: GuestOutput) throws(HostDaemonError) -> Bool {
        guard let qmp, let machine, machine.canGrow else { return true }
        do throws(HypervisorError) {
            let size = try MachineDescription.memorySize(of: qmp)
            if size == machine.memorySize { return true }
            report(
                "memory-changed",
                "the guest's memory changed from \(machine.memorySize >> 20) to \(size >> 20) MiB, so protection is given up and the guest runs on: take the memory out again, or start the machine with it",
                level: .error)
        } catch {
            // A monitor that is gone or hangs is seen at the next checkpoint; what this epoch holds is not known.
            report("checkpoint-aborted", "checkpoint \(epoch) is given up: \(error.message)", level: .warning)
            unseal(epoch, output)
            engine?.discard()
            try happen(.checkpointAbandoned(epoch))
            return false
        }
        unseal(epoch, output)
        try happen(.checkpointAbandoned(epoch))
        try happen(.backupLost(.refusedEpoch(reason: "the guest's memory changed its size")))
        return false
    }

    /// The epoch's checkpoint is lost: its output waits for the next one.
    func unseal(_ epoch: UInt64, _ output: GuestOutput) {
        do throws(OutputRelayError) {
            try output.withdrawSeal(epoch: epoch)
            unsealed(epoch)
        } catch {
            report(
                "unseal-failed", "the output of the lost epoch \(epoch) stays held until this host may go on alone: \(error)", level: .error
            )
        }
    }

    private func watchGate(_ output: GuestOutput) throws(OutputRelayError) {
        do throws(HostDaemonError) {
            gateWatch = try GateWatch(output) { [mailbox] in mailbox.post(.gateDisturbed($0)) }
        } catch {
            throw OutputRelayError(.kernel, error.message)
        }
    }

    /// Runs while the guest is stopped: the first epoch's cut closes the gates, every cut ends an epoch of output.
    private func seal(_ epoch: UInt64, _ output: GuestOutput) throws(HostDaemonError) {
        do throws(OutputRelayError) {
            if !gateIsClosed {
                try output.insert()
                gateIsClosed = true
                try watchGate(output)
                context.faults.pass(.gateClosed)
            }
            try output.seal(epoch: epoch)
            sealed(epoch)
            disks?.close(base: identity(0))
        } catch {
            throw HostDaemonError(.network, "the guest's output cannot be sealed: \(error)", cause: error)
        }
    }

    private func record(_ cut: CheckpointEngine.Cut, epoch: UInt64) {
        cutAt[epoch] = cut.stoppedAt
        if let pause = cut.pauseMicroseconds, pause > 0 { clock.add(UInt64(pause) * 1000) }
        let previous = lastCut
        lastCut = cut.stoppedAt
        observe(cut, epoch: epoch, previous: previous)
        wasSkipped = false
        shared.withLock { shared in
            shared.checkpoints += 1
            shared.clockLost = clock.lost
            shared.deviceStateBytes = cut.deviceStateBytes
            shared.dirty.add(Double(cut.dirtyPages))
            shared.histograms.dirtyPages.add(Double(cut.dirtyPages))
            if let pause = cut.pauseMicroseconds {
                shared.pause.add(Double(pause) / 1000)
                shared.histograms.pause.add(Double(pause) / 1e6)
            }
            if previous > 0 {
                shared.epoch.add(MonotonicClock.milliseconds(cut.stoppedAt - previous))
                shared.histograms.epoch.add(Double(cut.stoppedAt - previous) / 1e9)
            }
        }
    }

    /// A paused guest is no failure, but an operator wants to know once.
    private func skipped(_ reason: String) {
        guard !wasSkipped else { return }
        wasSkipped = true
        report("checkpoint-skipped", "no checkpoint is taken: \(reason)", level: .info)
    }
}
