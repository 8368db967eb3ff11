internal import Glibc
internal import LinuxShim
internal import HostAPI
internal import Hypervisor
internal import Links
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// The session's event loop, and the checkpoints.
extension PrimarySession {
    /// Goes round until the protocol has ended, or the machine was handed to another session.
    func protect() throws(HostDaemonError) {
        while !hasEnded && !isRetired {
            let now = MonotonicClock.now
            try watch(now)
            pace()
            if let due = pacer.due, core.allowedCheckpoint != nil {
                if due <= now {
                    try checkpoint()
                    try pumpOnce(timeoutMilliseconds: 0)
                    continue
                }
                try pumpOnce(timeoutMilliseconds: min(10, Double(due - now) / 1e6))
            } else {
                try pumpOnce(timeoutMilliseconds: 10)
            }
        }
    }

    /// What no event tells: a link that swallows epochs, a monitor that is gone while QEMU lives.
    private func watch(_ now: UInt64) throws(HostDaemonError) {
        if !isHeld { correctClock() }
        switch core.state {
        case .rehearsed, .protected, .switchingOver: break
        case .solo where mayHaveChanged: return protectChangedMachine()
        case .handingOver, .holding: return tellOfImagesLeft()
        case .deciding, .ending: return spareOverlays()
        default: return
        }
        if let monitorLostAt, now - monitorLostAt > timing.detection, processDescriptor >= 0 {
            self.monitorLostAt = nil
            report("monitor-lost", "QEMU lives and its monitor is gone: no checkpoint can be taken", level: .error)
            try happen(.backupLost(.channelClosed))
            return
        }
        if try overlaysAreFull() { return }
        try watchImages()
        if try filtersAreDisturbed(now) { return }
        guard let stream, let oldest = cutAt.values.min() else { return }
        let sent = stream.writer.bytesSent + (disks?.bytesSent ?? 0)
        if sent != linkProgress.bytes { linkProgress = (sent, now) }
        // Writes to disks keep a link busy that has long lost an epoch, so that there is a limit that no progress moves.
        if now - max(oldest, linkProgress.at) > Self.commitLimit || now - oldest > 4 * Self.commitLimit {
            report(
                "commit-overdue",
                "nothing was sent or acknowledged for \(Self.commitLimit / 1_000_000_000) s: the link or the backup is stuck", level: .error
            )
            cutAt.removeAll()
            try happen(.backupLost(.silent))
        }
    }

    /// How long an epoch may wait without a byte sent or acknowledged, in nanoseconds.
    private static let commitLimit: UInt64 = 5_000_000_000

    var hasEnded: Bool { if case .ended = core.state { true } else { false } }

    /// Goes round for a while.
    func pump(seconds: Double) throws(HostDaemonError) {
        let end = MonotonicClock.now + UInt64(seconds * 1e9)
        while MonotonicClock.now < end { try pumpOnce(timeoutMilliseconds: 10) }
    }

    /// Goes round until a condition holds.
    func pump(seconds: Double, what: String, until condition: () -> Bool) throws(HostDaemonError) {
        let end = MonotonicClock.now + UInt64(seconds * 1e9)
        while !condition() {
            if hasEnded {
                throw HostDaemonError(
                    .peer, shared.withLock { $0.error?.message } ?? lossMessage ?? "protection was given up while waiting for \(what)")
            }
            guard MonotonicClock.now < end else { throw HostDaemonError(.peer, "waited \(Int(seconds)) s for \(what) in vain") }
            try pumpOnce(timeoutMilliseconds: 10)
        }
    }

    /// Waits once for whatever comes first and handles all that is there.
    func pumpOnce(timeoutMilliseconds: Double) throws(HostDaemonError) {
        var waits = [
            pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: qmp?.descriptor ?? -1, events: Int16(POLLIN), revents: 0),
            pollfd(fd: processDescriptor, events: Int16(POLLIN), revents: 0),
            pollfd(fd: sender == nil ? -1 : stream?.descriptor ?? -1, events: Int16(POLLIN), revents: 0),
        ]
        waits += (input?.descriptors ?? []).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        let buffered = qmp?.hasBufferedMessage == true
        _ = understudy_poll(&waits, UInt(waits.count), buffered ? 0 : Int64(max(0, timeoutMilliseconds) * 1e6))
        shared.withLock { $0.lastRound = MonotonicClock.now }
        if waits.dropFirst(4).contains(where: { $0.revents != 0 }) { forwardInput() }
        if waits[3].revents != 0 { try readAcknowledgements() }
        pending += mailbox.take()
        while !pending.isEmpty { try handle(pending.removeFirst()) }
        if waits[1].revents != 0 || buffered { try readMonitor() }
        if waits[2].revents != 0 { try processEnded() }
        try perform(core.handle(.tick, now: MonotonicClock.now))
    }

    private func handle(_ message: Message) throws(HostDaemonError) {
        switch message {
        case .control(let message): try handle(message)
        case .channelClosed(let reason):
            guard channel != nil else { return }
            channel = nil
            report("channel-closed", "the control channel to \(request.backup) ended: \(reason)", level: .warning)
            try lose(.channelClosed)
        case .arbiter(let number, .reading(let reading)): try happen(.arbiterRead(number: number, reading))
        case .arbiter(let number, .answer(let answer)): try happen(.arbiterAnswered(number: number, answer))
        case .sent(let epoch, nil): try happen(.epochHandedToLink(epoch))
        case .sent(_, .some(let error)):
            guard sender != nil else { return }
            report("stream-failed", "the checkpoint stream broke: \(error.message)", level: .warning)
            try lose(.channelClosed)
        case .unprotect:
            unprotectAsked = true
            try happen(.unprotectRequested)
        case .switchover(let ticket): try begin(ticket)
        case .cancel:
            if isEstablishing { throw HostDaemonError(.cancelled, "cancelled: \(name) runs on as before, unprotected") }
            // The client left before it was told of the protection that came about meanwhile.
            report("cancelled", "cancelled at the last moment: protection ends again")
            try happen(.unprotectRequested)
        // One that was given up after a while must not end the session later.
        case .retire: isRetired = shared.withLock { $0.retireAsked }
        case .giveWay: if isEstablishing { throw HostDaemonError(.cancelled, "the operator protects it") }
        case .disksBroken(let reason): try disksBroke(reason)
        case .outputWaits(let epoch): outputWaits(after: epoch)
        case .clockSet(let owed): clockSet(owed)
        case .clockNotSet(let reason): clockNotSet(reason)
        case .imagesHold(let identity): try happen(.acknowledged(identity))
        case .gateDisturbed(let reason):
            report("gate-disturbed", "somebody changed the guest's tap, so its output may leave unheld: \(reason)", level: .critical)
            try lose(.refusedEpoch(reason: "the output gate was disturbed"))
        }
    }

    private func handle(_ message: ControlMessage) throws(HostDaemonError) {
        switch message {
        case .prepared(let report):
            try SharedArbiter.prove(context.arbiter, peer: request.backup, announced: report.arbiterNonce)
            standbyIsPrepared = true
            diskPaths = report.diskPaths
            for (disk, path) in zip(machine?.writableDisks ?? [], report.diskPaths) {
                self.report("disk-copy", "the copy of \(disk.name) lives in \(path) on \(request.backup)")
            }
            self.report("standby-prepared", "\(request.backup) runs a standby with QEMU \(report.qemu)")
            for rule in report.rules { self.report("standby-rule", rule, level: .info) }
            for warning in report.warnings { self.report("standby-warning", warning, level: .warning) }
        case .refused(let message): throw HostDaemonError(.refused, "\(request.backup) cannot take the standby: \(message)")
        case .rehearsed: rehearsalIsOver = true
        case .rehearsalFailed(let message):
            throw HostDaemonError(.standby, "the rehearsal on \(request.backup) failed: \(message)" + hotPlugHint)
        case .standbyLost(let reason):
            report("standby-lost", "\(request.backup): \(reason)", level: .error)
            if isEstablishing { throw HostDaemonError(.standby, "the standby on \(request.backup) is lost: \(reason)" + hotPlugHint) }
            try lose(.standbyDied)
        case .takeoverDeclined(let reason): try happen(.takeoverDeclined(reason: reason))
        case .switchoverReady: try happen(.switchoverReady)
        case .switchoverDeclined(let reason): try happen(.switchoverDeclined(reason: reason))
        case .winnerRuns(let generation):
            winnerHeardAt = MonotonicClock.now
            if ticket != nil { context.faults.pass(.switchoverConfirmed) }
            try happen(.winnerRuns(generation: generation))
        case .handedBack(let generation): try happen(.handedBack(generation: generation))
        case .heartbeat(let beat):
            // A heartbeat thread that outlives its stuck session is no sign of life.
            guard beat.progressAge <= timing.detection else { return }
            publish { [core] in $0.silenceLimitMilliseconds = MonotonicClock.milliseconds(core.silenceLimit) }
            if let condition = beat.condition.flatMap({ BackupCondition(word: $0, committed: beat.committed) }) {
                try happen(.heartbeat(condition))
            }
        case .log(let message): report("backup", message, level: .info)
        case .prepare, .takeOver, .prepareSwitchover, .switchOver, .frames, .dismiss, .imagesLeft, .survey, .surveyed:
            report("protocol", "the backup sent a message that only a primary sends", level: .warning)
        }
    }

    /// A standby is made from the command line, so it lacks what was plugged in later.
    var hotPlugHint: String {
        guard let devices = machine?.hotPluggedDevices, !devices.isEmpty else { return "" }
        return
            ". The machine has devices that its command line does not name: \(devices.joined(separator: ", ")). Take them out (device_del), start the machine with them, or add them under `standby.append` on \(request.backup)"
    }

    /// While nothing is held back yet, a lost backup means that protection was not established.
    private func lose(_ loss: BackupLoss) throws(HostDaemonError) {
        if isEstablishing { throw HostDaemonError(.peer, "protection could not be established: \(loss.sentence)") }
        try happen(.backupLost(loss))
    }

    func happen(_ event: PrimaryEvent) throws(HostDaemonError) { try perform(core.handle(event, now: MonotonicClock.now)) }

    private func readAcknowledgements() throws(HostDaemonError) {
        guard let stream else { return }
        do throws(LinkError) {
            while let message = try stream.receiveAvailable() {
                switch message {
                case .acknowledgement(let identity): acknowledged(identity)
                case .refusal(let refusal):
                    report("epoch-refused", "\(request.backup) refused epoch \(refusal.identity.epoch): \(refusal.message)", level: .error)
                    deferred { () throws(HostDaemonError) in try lose(.refusedEpoch(reason: refusal.message)) }
                default: report("protocol", "the backup sent a message that only a primary sends", level: .warning)
                }
            }
        } catch {
            self.stream = nil
            // A backup that takes over on request ends the stream; its word comes over the control channel.
            let isExpected = if case .handingOver(.switchover) = core.state { true } else { false }
            if !isExpected {
                report("stream-failed", "the checkpoint stream broke: \(error.message)", level: .warning)
                try lose(.channelClosed)
            }
        }
        if let failure = deferredFailure {
            deferredFailure = nil
            throw failure
        }
    }

    private func deferred(_ body: () throws(HostDaemonError) -> Void) {
        do throws(HostDaemonError) { try body() } catch { deferredFailure = error }
    }

    private func acknowledged(_ identity: EpochIdentity) {
        context.faults.pass(.acknowledged)
        let now = MonotonicClock.now
        var isAwaited = false
        if identity == self.identity(identity.epoch), let cut = cutAt.removeValue(forKey: identity.epoch) {
            isAwaited = true
            observeCommit(of: identity.epoch, after: now - cut)
            let sent = stream?.writer.bytesSent ?? 0
            shared.withLock { shared in
                shared.commit.add(MonotonicClock.milliseconds(now - cut))
                shared.histograms.commit.add(Double(now - cut) / 1e9)
                shared.lastCommit = now
                shared.sentBytes = sent
                shared.status.epoch = identity.epoch
            }
        }
        if let shared = disks?.shared {
            // Said twice, or of an epoch that is long over: the images have nothing to get for it.
            if isAwaited { write(identity, to: shared) }
            return
        }
        deferred { () throws(HostDaemonError) in try happen(.acknowledged(identity)) }
    }

    /// Reads what QEMU's monitor has to say; its end is told by the process's end.
    func readMonitor() throws(HostDaemonError) {
        var events: [QMPEvent] = []
        do {
            if let gate {
                events = try gate.takeEvents()
            } else if let qmp {
                while case .event(let event)? = try qmp.receive(timeout: .zero) { events.append(event) }
                events += qmp.takeEvents()
            }
        } catch {
            gate = nil
            qmp?.close()
            qmp = nil
            monitorLostAt = MonotonicClock.now
            report("monitor-closed", "QEMU's monitor is gone: \(error)", level: .info)
        }
        for event in events {
            disks?.note(event)
            switch event.name {
            case "SHUTDOWN":
                let reason = event.data["reason"]?.string ?? "unknown"
                guard reason != "host-error" else { break }
                guestHasEnded = true
                report("guest-ended", "the guest ended: \(reason)")
                try happen(.guestEnded(reason.hasPrefix("host") ? .quit : .shutdown))
            case "RESET": report("guest-reset", "the guest restarts; it stays protected", level: .info)
            case "GUEST_PANICKED": report("guest-panicked", "the guest's kernel panicked", level: .error)
            default: break
            }
        }
    }

    private func processEnded() throws(HostDaemonError) {
        try readMonitor()
        close(processDescriptor)
        processDescriptor = -1
        _ = ownProcess?.exitStatus
        if guestHasEnded { return }
        if isEstablishing { throw HostDaemonError(.guest, "QEMU ended while protection was being established") }
        report("qemu-died", "QEMU ended without a shutdown of the guest", level: .error)
        try happen(.guestFailed(.exited))
    }
}
