internal import Glibc
internal import GuestMemory
internal import HostAPI
internal import Hypervisor
internal import Links
internal import LinuxShim
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// Carries out what the protocol decides, in its order. Every action may come twice.
extension PrimarySession {
    /// One that fails takes none of the others with it: a question to the arbiter that was never asked would never be answered, and a guest
    /// that was never resumed would stay stopped.
    func perform(_ actions: [PrimaryAction]) throws(HostDaemonError) {
        var failure: HostDaemonError?
        for action in actions {
            do throws(HostDaemonError) { try perform(action) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    private func perform(_ action: PrimaryAction) throws(HostDaemonError) {
        switch action {
        case .askArbiter(let request):
            arbiter?.ask(request)
            if core.state == .deciding { context.faults.pass(.soloAsked) }
        case .prepareBackup(let record): try persist(record)
        case .allowCheckpoint: pacer.allowed(now: MonotonicClock.now)
        case .release(let epoch): release(epoch)
        case .openGate:
            do throws(HostDaemonError) { try openGate() } catch {
                noteRelease()
                throw error
            }
        case .holdGuest:
            isHeld = true
            signalGuest(SIGSTOP)
            // The last epoch before a planned move still goes to the images.
            if case .switchingOver = core.state { break }
            leaveImages()
        case .resumeGuest: resumeGuest()
        case .endGuest: endGuest()
        case .prepareSwitchover: prepareSwitchover()
        case .requestTakeover(let request): requestTakeover(request)
        case .dismissBackup(let reason): dismiss(reason)
        case .report(let report): try tell(report)
        }
    }

    private func release(_ epoch: UInt64) {
        do throws(OutputRelayError) {
            _ = try output?.release(through: epoch)
            context.faults.pass(.released)
        } catch {
            report("release-failed", "the output of epoch \(epoch) is committed and could not leave: \(error)", level: .error)
        }
    }

    /// Lets everything held leave, in order, while the guest stands still, and takes the gates away.
    func openGate() throws(HostDaemonError) {
        try bringDisksHome()
        guard gateIsClosed else {
            removeOutput()
            removeOpenLeftovers()
            return
        }
        context.faults.pass(.soloDecided)
        let stopped = stopAtGate()
        do throws(OutputRelayError) {
            if let output {
                try output.open()
            } else {
                try LeftoverRelay.remove(taps: GuestPorts.taps(leftoverTaps))
                try removeLeftFilters()
            }
            gateIsClosed = false
            context.faults.pass(.gateOpened)
        } catch {
            if stopped { gate?.abandon() }
            throw HostDaemonError(.network, "the output gate could not be opened: \(error)", cause: error)
        }
        if stopped { gate?.abandon() }
        report("gate-opened", "the guest's output passes freely")
        removeOutput()
    }

    /// Takes away the gates of a daemon that died before its first epoch; they let everything pass.
    private func removeOpenLeftovers() {
        do throws(OutputRelayError) {
            try LeftoverRelay.remove(taps: GuestPorts.taps(leftoverTaps))
            try removeLeftFilters()
        } catch {
            report(
                "relay-left", "an open gate of an earlier daemon could not be taken off \(leftoverTaps.joined(separator: ", ")): \(error)",
                level: .warning)
        }
    }

    /// Stops the guest by the save gate, so that not even this daemon's death leaves it stopped; false when it does not run.
    private func stopAtGate() -> Bool {
        guard let gate, qmp != nil, !isHeld else { return false }
        do throws(HypervisorError) {
            if gate.needsRenewal { try gate.renew() }
            try gate.begin()
            if try gate.waitForCut(timeout: .nanoseconds(Int64(timing.detection))) == .cut { return true }
        } catch {
            report(
                "not-stopped", "the guest could not be stopped while the gate opens; a frame may overtake another: \(error.message)",
                level: .info)
        }
        // A save under way would stop the guest later and wait for a reader for ever.
        gate.abandon()
        return false
    }

    private func removeOutput() {
        gateWatch?.stop()
        shared.withLock { $0.output = nil }
        guard let output else { return }
        self.output = nil
        do throws(OutputRelayError) {
            try output.remove()
        } catch {
            report("relay-left", "the open output gate could not be taken off the tap; it lets everything pass: \(error)", level: .warning)
        }
    }

    func signalGuest(_ signal: CInt) {
        guard processDescriptor >= 0 else { return }
        _ = understudy_pidfd_send_signal(processDescriptor, signal)
    }

    private func resumeGuest() {
        input = nil
        isHeld = false
        signalGuest(SIGCONT)
        unpause()
    }

    /// Ends the loser's QEMU, and only then takes the gate away.
    private func endGuest() {
        signalGuest(SIGKILL)
        if processDescriptor >= 0 {
            guard awaitGuestEnd() else {
                report(
                    "guest-does-not-end",
                    "the old QEMU was killed and does not end (its storage may hang); the gate stays closed. Restart understudyd later",
                    level: .critical)
                return
            }
            close(processDescriptor)
            processDescriptor = -1
        }
        _ = ownProcess?.exitStatus
        input = nil
        report("guest-ended-here", "nothing of the old guest is left on this host; its gate goes")
        dropGate()
        removeStandbyTaps()
    }

    /// Waits until QEMU is gone. What the network still brings here meanwhile goes on to the other host, until that has made itself known.
    private func awaitGuestEnd() -> Bool {
        let end = MonotonicClock.now + 10_000_000_000
        var ended = pollfd(fd: processDescriptor, events: Int16(POLLIN), revents: 0)
        while poll(&ended, 1, 1) == 0 {
            guard MonotonicClock.now < end else { return false }
            forwardInput()
        }
        forwardInput()
        return ended.revents != 0
    }

    /// A guest that this host took over once had taps of ours, which stay when its QEMU ends.
    private func removeStandbyTaps() {
        for sentence in StandbyTap.removeOwn(leftoverTaps.isEmpty ? machine?.taps ?? [] : GuestPorts.taps(leftoverTaps)) {
            report("tap-left", sentence, level: .warning)
        }
    }

    /// Takes away the closed gates of a guest that does not exist any more.
    func dropGate() {
        gateWatch?.stop()
        output?.abandon()
        output = nil
        shared.withLock { $0.output = nil }
        gateIsClosed = false
        let taps = leftoverTaps.isEmpty ? machine?.taps ?? [] : GuestPorts.taps(leftoverTaps)
        let end = MonotonicClock.now + 2_000_000_000
        while true {
            do throws(OutputRelayError) {
                return try LeftoverRelay.remove(taps: taps)
            } catch {
                // The kernel takes its time to remove the relay's taps of a daemon that was just killed.
                if error.code == .gateInUse, MonotonicClock.now < end {
                    usleep(20_000)
                    continue
                }
                report("gate-left", "a closed gate on \(taps.joined(separator: ", ")) could not be removed: \(error)", level: .warning)
                return
            }
        }
    }

    func send(_ message: ControlMessage) {
        do throws(LinkError) {
            try channel?.send(message.encoded())
        } catch {
            // The channel's end is an event of its own; what it means is decided there.
            report("control", "a message to \(request.backup) was not sent: \(error.message)", level: .debug)
        }
    }

    private func dismiss(_ reason: DismissalReason) {
        send(.dismiss(reason: reason.word))
        letGoOfBackup()
    }

    /// Lets go of everything that only protection needs.
    func letGoOfBackup() {
        if let beat {
            context.heartbeats.remove(beat)
            self.beat = nil
        }
        channel?.close()
        channel = nil
        letGoOfDisks()
        sender?.stop()
        sender = nil
        stream?.shutdown()
        stream = nil
        shared.withLock { $0.transmission = nil }
        engine = nil
        copier?.stop()
        copier = nil
        do { try tracker?.stop() } catch {
            report("tracking-left", "write tracking could not be ended; the guest runs on with it: \(error)", level: .warning)
        }
        tracker = nil
        pacer = CheckpointPacer(interval: pacer.interval, limit: timing.detection, ownPause: timing.ownPause)
    }

    private func persist(_ record: ArbiterRecord) throws(HostDaemonError) {
        guard let machine else { return }
        try save(
            SessionRecord(
                name: name, qmp: qmpPath, backup: request.backup, intervalMilliseconds: request.intervalMilliseconds,
                processID: machine.process.id,
                processStartTime: machine.process.startTime, taps: machine.ports, record: record, disks: machine.diskFiles,
                sharedDisks: request.sharedDisks, formerDisks: formerDisks))
        if request.sharedDisks != true { claimDisks(machine, generation: record.generation) }
        // A machine that ran here once and was started anew from the same images has a record of its own again.
        markDisks(.ran(since: record.generation))
        publish { $0.generation = record.generation }
    }

    func save(_ record: SessionRecord) throws(HostDaemonError) {
        saved = record
        try record.write(to: context.configuration.runtimeFolder)
    }

    /// Brings what the next daemon will read up to the record that was just won. A daemon that finds a record more than one decision older
    /// than the arbiter's must take its guest for superseded.
    func saveRecord() {
        guard var saved, let record = core.record, saved.record != record else { return }
        saved.record = record
        do throws(HostDaemonError) { try save(saved) } catch {
            report("record-not-saved", "\(error); a daemon that is restarted twice from now on would hold this guest", level: .error)
        }
    }
}
