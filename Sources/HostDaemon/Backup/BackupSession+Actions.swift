internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import LinuxShim
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// Carries out what the protocol decides, in its order.
extension BackupSession {
    func perform(_ action: BackupAction) {
        switch action {
        case .acknowledge(let identity): acknowledge(identity)
        case .apply(let identity): commit(identity)
        case .discard: receiver?.decide(.discard)
        case .refuse(let identity, let reason): refuseEpoch(identity, reason)
        case .stopAcknowledging: acknowledges = false
        case .askArbiter(let request):
            arbiter?.ask(request)
            if case .deciding = core.state { context.faults.pass(.takeoverAsked) }
        case .activate: activate()
        case .runGuest: runGuest()
        case .holdGuest: if let standby { _ = understudy_pidfd_send_signal(standby.pidfd, SIGSTOP) }
        case .tellPrimary(let notice): tell(notice)
        case .disposeStandby: disposeStandby()
        case .report(let report): tell(report)
        }
    }

    private func acknowledge(_ identity: EpochIdentity) {
        guard acknowledges, let stream else { return }
        do throws(LinkError) {
            try stream.send(.acknowledgement(identity), deadline: .now + .milliseconds(500))
            context.faults.pass(.epochAcknowledged)
        } catch {
            report("stream-failed", "epoch \(identity.epoch) could not be acknowledged: \(error.message)", level: .warning)
        }
    }

    /// Loads the last committed checkpoint into the standby; the guest does not run yet.
    private func activate() {
        times.decided = MonotonicClock.now
        context.faults.pass(.takeoverDecided)
        guard isFenced() else { return }
        activateFenced()
    }

    /// As `activate`, once nobody else can write to disks that both hosts see.
    func activateFenced() {
        guard let standby, let receiver else {
            happen(.activationFailed(reason: "there is no standby"))
            return
        }
        let deviceState = receiver.finish()
        self.receiver = nil
        do throws(HostDaemonError) { try finishDisks() } catch {
            report("activation-failed", "the disks cannot be brought to the last checkpoint: \(error.message)", level: .error)
            happen(.activationFailed(reason: error.message))
            return
        }
        guard !deviceState.isEmpty else {
            happen(.activationFailed(reason: "no checkpoint was committed"))
            return
        }
        do throws(HypervisorError) {
            _ = try deviceState.withUnsafeBufferPointer { bytes throws(HypervisorError) in
                try standby.activate(deviceState: UnsafeRawBufferPointer(bytes), timeout: Self.takeoverPatience)
            }
        } catch {
            report("activation-failed", "the standby does not load the checkpoint: \(error.message)", level: .error)
            happen(.activationFailed(reason: error.message))
            return
        }
        context.faults.pass(.standbyActivated)
        do throws(HostDaemonError) { try TakeoverNote.guestMayRun(folder) } catch {
            report("activation-failed", error.message, level: .error)
            happen(.activationFailed(reason: error.message))
            return
        }
        markCopies()
        happen(.standbyActivated)
    }

    private func runGuest() {
        guard let standby else { return }
        for tap in taps { tap.open() }
        handOverInput()
        context.faults.pass(.tapOpened)
        do throws(HypervisorError) {
            try standby.openNetworks()
            try standby.run(timeout: Self.takeoverPatience)
        } catch {
            report("run-failed", "the guest does not run: \(error.message)", level: .error)
            happen(.standbyDied(reason: error.message))
            return
        }
        let running = MonotonicClock.now
        context.faults.pass(.guestRunning)
        let parts = TakeoverTimes(
            detectionMilliseconds: MonotonicClock.milliseconds(times.suspected &- min(times.lastHeard, times.suspected)),
            decisionMilliseconds: MonotonicClock.milliseconds(times.decided &- min(times.suspected, times.decided)),
            activationMilliseconds: MonotonicClock.milliseconds(running - times.decided), decidedAtNanoseconds: times.decided,
            runningAtNanoseconds: running, reason: times.reason)
        publish { $0.takeover = parts }
        report(
            "takeover", "the guest runs here from epoch \(status.epoch) on",
            fields: [
                "detection_ms": "\(parts.detectionMilliseconds)", "decision_ms": "\(parts.decisionMilliseconds)",
                "activation_ms": "\(parts.activationMilliseconds)",
            ])
        happen(.guestRunning)
        announce(standby)
    }

    /// How long QEMU may take to load the checkpoint, and to run: after the decision this is mostly the only copy of the guest, and a host
    /// that is short of memory or processors is no reason to give it up.
    private static let takeoverPatience = Duration.seconds(30)

    private func announce(_ standby: StandbyProcess) {
        do throws(HypervisorError) {
            try standby.announce()
            if !standby.commandLine.deafNetworks.isEmpty { try DeafNetwork.tidy(standby.monitor) }
        } catch {
            report(
                "announce-failed", "the guest's address was not announced; switches learn it from its next frame: \(error.message)",
                level: .warning)
        }
    }

    private func tell(_ notice: BackupNotice) {
        switch notice {
        case .winnerRuns(let generation): send(.winnerRuns(generation: generation))
        case .handedBack(let generation): send(.handedBack(generation: generation))
        case .standbyLost(let reason): send(.standbyLost(reason: reason))
        case .takeoverDeclined(let reason): send(.takeoverDeclined(reason: reason))
        case .switchoverReady: send(.switchoverReady)
        case .switchoverDeclined(let reason): send(.switchoverDeclined(reason: reason))
        }
    }

    private func disposeStandby() {
        awaitsFencing = false
        rehearsal?.kill()
        rehearsal = nil
        stopReceiving()
        standby?.kill()
        standby = nil
        removeTaps()
    }

    private func stopReceiving() {
        _ = receiver?.finish()
        receiver = nil
        dropDisks()
        stream?.shutdown()
        stream = nil
    }

    /// Ends what is left; a guest that runs here goes on.
    func letGo() {
        if let beat { context.heartbeats.remove(beat) }
        beat = nil
        for session in [preparation.session, preparation.diskSession].compactMap({ $0 }) {
            if let session = CheckpointSessionID(hexadecimal: session) { listeners.forget(session) }
        }
        if isPromoted {
            stopReceiving()
        } else {
            disposeStandby()
            TakeoverNote.remove(from: folder)
            // After a failure the standby's logs stay for the operator, until the next standby of this name.
            if case .dismissed = core.state {
                removeFolder()
                publish(.ended, "the standby was dismissed by \(preparation.primary)")
            }
        }
        channel.close()
        arbiter = nil
    }

    func tell(_ report: BackupReport) {
        switch report {
        case .stateChanged(let state): entered(state)
        case .primarySuspected(let cause):
            times.suspected = MonotonicClock.now
            times.reason =
                switch cause {
                case .primarySilent: "the primary is silent"
                case .channelClosed: "the primary's connection ended"
                case .requested(let request): request.sentence
                }
            if case .requested(.switchover) = cause {
                // Nothing had to be detected.
                times.lastHeard = times.suspected
                self.report("switchover", "\(preparation.primary) gives the machine to this host")
            } else {
                self.report("primary-suspected", times.reason, level: .warning)
            }
        case .ownPause(let nanoseconds):
            self.report("own-pause", "this daemon stood still for \(nanoseconds / 1_000_000) ms", level: .warning)
        case .arbiterUnreachable(let reason):
            self.report("arbiter-unreachable", "the arbiter does not answer, so nobody takes over: \(reason)", level: .error)
        case .lostArbitration(let current):
            self.report("lost", "the arbiter gave the machine to \(current?.owner ?? "nobody"); the standby is ended", level: .warning)
        case .recordContradicts(let record):
            self.report(
                "contradiction", "the guest runs here, but the arbiter names \(record?.owner ?? "nobody"): the guest is held",
                level: .critical)
        case .epochRefused(let identity, let reason): self.report("epoch-refused", "epoch \(identity.epoch): \(reason)", level: .error)
        case .ignored(let what): self.report("ignored", what, level: .debug)
        }
    }

    private func entered(_ state: BackupState) {
        switch state {
        case .preparing, .synchronising, .rehearsed: break
        case .eligible(let committed):
            if shared.withLock({ $0.status.state }) != .standby {
                report("eligible", "holds complete checkpoints and could take over", fields: ["epoch": "\(committed)"])
            }
            publish(.standby, "ready to take over from \(preparation.primary)")
        case .deciding: publish(.deciding, "asking the arbiter whether this host takes over")
        case .takingOver: publish(.takingOver, "starting the guest from the last committed checkpoint")
        case .confirming: publish(.takingOver, "the guest runs; the arbiter is being told")
        case .active: becameActive()
        case .handingBack: publish(.lost, "the takeover failed; the guest is being given back to \(preparation.primary)")
        case .dismissed(let reason): report("dismissed", "the primary ended protection: \(reason.word)")
        case .failed(let failure): publish(.failed, failure.sentence)
        }
    }

    /// The guest's clock goes on from the last epoch, which was cut a little before it was applied here.
    private var clockLost: UInt64 {
        let (running, committed) = shared.withLock { ($0.status.takeover?.runningAtNanoseconds ?? 0, $0.lastCommit) }
        return committed > 0 && running > committed ? running - committed : 0
    }

    /// From here on this host is the machine's primary, without a backup.
    private func becameActive() {
        context.faults.pass(.takeoverConfirmed)
        guard let standby else { return }
        standby.detach()
        isPromoted = true
        let status = status
        let machine = TakenOverMachine(
            name: name, formerPrimary: preparation.primary, record: core.record, process: standby, qmp: standby.commandLine.qmpSocket,
            pid: standby.pid, taps: ports, disks: diskPaths,
            epoch: status.epoch,
            times: status.takeover, version: preparation.machine.version.description,
            intervalMilliseconds: order?.interval ?? 0, protectBack: order?.protectBack ?? false, sharedDisks: hasSharedDisks,
            formerDisks: formerDisks, clockLost: clockLost)
        do throws(HostDaemonError) {
            try context.promote(machine, context)
        } catch {
            report("promotion-failed", "the guest runs, but this daemon cannot look after it: \(error)", level: .critical)
        }
    }
}

extension BackupFailure {
    /// For the operator.
    var sentence: String {
        switch self {
        case .primaryLostEarly: "the primary was lost before the first complete checkpoint; nothing to take over"
        case .rehearsalFailed(let reason): "the rehearsal failed: \(reason)"
        case .standbyDied(let reason): reason
        case .protocolViolation(let what): "the primary broke the protocol: \(what)"
        case .lostArbitration: "the arbiter decided for the other host"
        case .handedBack: "the takeover failed and the guest was given back"
        case .guestLost(let reason): "the guest may have run here and is gone: \(reason). Look at both hosts before starting it anew"
        }
    }
}
