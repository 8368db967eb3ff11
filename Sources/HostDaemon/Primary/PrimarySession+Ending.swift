internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import LinuxShim
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// How a session ends, and how one begins that finds a closed gate.
extension PrimarySession {
    /// Something failed that the protocol does not know. While nothing is held back, everything is put back as it was; later the protocol
    /// decides who goes on.
    func giveUp(_ failure: HostDaemonError) {
        let error = explained(failure)
        if error.code == .cancelled {
            report("cancelled", error.description)
        } else if !isAutomatic || gateIsClosed {
            // Why an attempt failed that began by itself is told with the time of the next one.
            report("failed", error.description, level: .error)
        }
        let wasProtected = gateIsClosed
        shared.withLock { $0.error = $0.error ?? error }
        if goOnAlone(after: error) { return }
        do throws(HostDaemonError) {
            if wasProtected { return decide() }
            if case .idle = core.state {
                publish(.failed, error.description)
                return
            }
            if !hasEnded { try happen(.unprotectRequested) }
            try pump(seconds: 10, what: "the arbiter, to withdraw the permission") { hasEnded }
        } catch {
            report("failed", error.description, level: .error)
        }
        // Nobody waits for the answer of a protection that began by itself: its state has to say that it failed, and why.
        if case .ended(.unprotected) = core.state, occasion == nil || unprotectAsked { return }
        publish(.failed, error.description)
    }

    /// Whatever broke first on the way to a protection that began since the machine had changed, the standby that lacks a device is the
    /// likeliest reason of all.
    private func explained(_ error: HostDaemonError) -> HostDaemonError {
        guard occasion == .change, !error.message.hasSuffix(hotPlugHint) else { return error }
        return HostDaemonError(error.code, error.message + hotPlugHint, cause: error.cause)
    }

    /// The guest's output is held: the arbiter decides who goes on, however often something else fails.
    private func decide() {
        var event: PrimaryEvent? = .backupLost(.channelClosed)
        goRound { () throws(HostDaemonError) in
            guard let first = event else { return }
            event = nil
            try happen(first)
        }
    }

    /// Goes round until nothing is left to do here, whatever fails.
    func goRound(first body: () throws(HostDaemonError) -> Void = {}) {
        while !hasEnded || owesOpening, !isRetired {
            attempt { () throws(HostDaemonError) in
                try body()
                if owesOpening { try insistOnOpening() } else { try protect() }
            }
        }
    }

    /// The arbiter lets the guest go on alone, and its output is held still, or its writes are not in its images.
    private var owesOpening: Bool { core.mayOpenGate && (gateIsClosed || disks?.shared?.isHome == false) }

    /// What hinders is on this host, so it is told, and tried again until it is mended.
    private func insistOnOpening() throws(HostDaemonError) {
        do throws(HostDaemonError) { try openGate() } catch {
            let what = guestHasEnded ? "the last writes of the guest that ended are kept in this daemon" : "the guest's output stays held"
            let sentence = "\(what): \(error.message). Mend that, and do not restart anything meanwhile; it is tried again every second"
            publish(.deciding, sentence)
            if openingTrouble != error.message { report("opening-fails", sentence, level: .critical) }
            openingTrouble = error.message
            return try pump(seconds: 1)
        }
        openingTrouble = nil
        try entered(core.state)
    }

    /// The arbiter's record may be gone before the gate opens: a later daemon must know that it may.
    func noteRelease() {
        saveRecord()
        guard core.mayOpenGate, gateIsClosed, var saved, saved.wasReleased != true else { return }
        saved.wasReleased = true
        do throws(HostDaemonError) { try save(saved) } catch {
            report("record-not-saved", "\(error); a daemon that is restarted before the gate opens would hold this guest", level: .error)
        }
    }

    /// Lets go of everything; a gate that is closed stays closed.
    func letGo() {
        gateWatch?.stop()
        input = nil
        isLettingGo = true
        letGoOfBackup()
        if gateIsClosed, hasEnded, processDescriptor < 0 { dropGate() }
        if gateIsClosed {
            output?.abandon()
        } else if let output {
            do throws(OutputRelayError) { try output.remove() } catch {
                report("relay-left", "the output gate could not be taken off the tap: \(error)", level: .warning)
            }
        }
        output = nil
        shared.withLock { $0.output = nil }
        gate = nil
        qmp?.close()
        qmp = nil
        if processDescriptor >= 0 { close(processDescriptor) }
        processDescriptor = -1
        arbiter = nil
        if gateIsClosed {
            report(
                "gate-left-closed",
                "the guest's output stays held, since nobody has decided who goes on: restart understudyd, which asks the arbiter again",
                level: .critical)
        }
        if !gateIsClosed && !isRetired { SessionRecord.remove(name, from: context.configuration.runtimeFolder) }
    }

    /// Goes on with a guest that runs here after a takeover, alone and with an open gate.
    func lookAfter(_ machine: TakenOverMachine) throws(HostDaemonError) {
        isEstablishing = false
        processDescriptor = machine.process.map { $0.pidfd >= 0 ? dup($0.pidfd) : -1 } ?? understudy_pidfd_open(machine.pid)
        connectAgain()
        arbiter = try ArbiterWorker(client: context.arbiter, key: HostContext.key(of: name)) { [mailbox] number, reply in
            mailbox.post(.arbiter(number, reply))
        }
        persist(machine)
        try perform(core.continueSolo(machine.record))
    }

    /// Notes the machine for a later daemon. A guest that runs is looked after in any case, whatever the disk says.
    private func persist(_ machine: TakenOverMachine) {
        let record = SessionRecord(
            name: name, qmp: qmpPath, backup: machine.formerPrimary, intervalMilliseconds: request.intervalMilliseconds,
            processID: machine.pid,
            processStartTime: SessionRecord.startTime(of: machine.pid) ?? 0, taps: machine.taps, record: machine.record,
            disks: machine.disks, sharedDisks: machine.sharedDisks, formerDisks: machine.formerDisks)
        do throws(HostDaemonError) {
            try save(record)
            TakeoverNote.remove(from: OrphanedStandby.folder(of: name, in: context.configuration.runtimeFolder))
        } catch {
            report(
                "record-missing", "a daemon that starts later will not know this machine: \(error.message). Make room, then protect it",
                level: .error)
        }
    }

    /// Takes up what a dead daemon left: asks the arbiter who may go on, and opens or ends accordingly.
    func reopen(_ record: SessionRecord) throws(HostDaemonError) {
        saved = record
        formerDisks = record.formerDisks
        leftoverTaps = record.taps
        // One closed gate of several is enough: then the earlier daemon died while it closed or opened them.
        gateIsClosed = isGated(GuestPorts.taps(record.taps)) || isFiltered(record)
        report(
            "recovering",
            "an earlier daemon protected this machine; its gate on \(record.taps.joined(separator: ", ")) is \(gateIsClosed ? "closed" : "open")",
            level: .warning)
        isEstablishing = false
        watchProcess(of: record)
        publish(.deciding, "an earlier daemon protected this machine; asking the arbiter who may run it") { $0.taps = record.taps }
        arbiter = try ArbiterWorker(client: context.arbiter, key: HostContext.key(of: name)) { [mailbox] number, reply in
            mailbox.post(.arbiter(number, reply))
        }
        try perform(core.reopen(session: record.record, wasReleased: record.wasReleased == true, now: MonotonicClock.now))
        if processDescriptor < 0 { try happen(.guestFailed(.exited)) }
    }

    /// Watches the recorded process, unless it is gone; its number may have been given to another one meanwhile.
    func watchProcess(of record: SessionRecord) {
        while record.processIsAlive {
            let descriptor = understudy_pidfd_open(record.processID)
            if descriptor >= 0 {
                processDescriptor = descriptor
                break
            }
            report("failed", "QEMU's process \(record.processID) cannot be watched; trying again", level: .error)
            usleep(1_000_000)
        }
        guard processDescriptor >= 0, !record.processIsAlive else { return }
        close(processDescriptor)
        processDescriptor = -1
    }

    /// Whoever took a closed gate for an open one would forget the machine and leave its guest cut off: so this is asked until it is known.
    private func isGated(_ taps: [String]) -> Bool {
        while true {
            do throws(OutputRelayError) {
                return try LeftoverRelay.isAnyClosed(taps: taps)
            } catch {
                report(
                    "failed", "the gate on \(taps.joined(separator: ", ")) cannot be examined: \(error); trying again", level: .error)
                usleep(1_000_000)
            }
        }
    }
}
