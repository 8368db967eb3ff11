internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import Logging
internal import OutputRelay
internal import Synchronization
internal import UnderstudyCore

/// The session's event loop.
extension BackupSession {
    func goRound() {
        while !isPromoted, !isFinished {
            var waits = [
                pollfd(fd: mailbox.descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: standby?.pidfd ?? -1, events: Int16(POLLIN), revents: 0),
            ]
            _ = poll(&waits, nfds_t(waits.count), 10)
            shared.withLock { $0.lastRound = MonotonicClock.now }
            for message in mailbox.take() { handle(message) }
            if waits[1].revents != 0 { standbyEnded() }
            watchStream()
            watchDisks()
            stageWhole()
            awaitFencing()
            happen(.tick)
        }
    }

    /// A primary whose epoch arrives piece by piece lives, though its heartbeats may be stuck behind it.
    private func watchStream() {
        guard let bytes = stream?.reader.bytesReceived, bytes != streamedBytes else { return }
        streamedBytes = bytes
        happen(.streamAdvanced)
    }

    private var isFinished: Bool {
        switch core.state {
        case .dismissed, .failed: true
        default: false
        }
    }

    func happen(_ event: BackupEvent) {
        let actions = core.handle(event, now: MonotonicClock.now)
        shared.withLock { $0.condition = core.condition }
        for action in actions { perform(action) }
    }

    private func handle(_ message: Message) {
        switch message {
        case .control(let message): handle(message)
        case .channelClosed(let reason):
            guard channelIsOpen else { return }
            channelIsOpen = false
            report("channel-closed", "the control channel from \(preparation.primary) ended: \(reason)", level: .warning)
            happen(.primaryChannelClosed)
        case .arbiter(let number, .reading(let reading)): happen(.arbiterRead(number: number, reading))
        case .arbiter(let number, .answer(let answer)): happen(.arbiterAnswered(number: number, answer))
        case .stream(let stream, let hello): begin { () throws(HostDaemonError) in try receive(stream, hello) }
        case .received(let event): handle(event)
        case .diskStream(let stream, let hello): begin { () throws(HostDaemonError) in try receiveDisks(stream, hello) }
        case .disks(let event): handle(event)
        case .inputLost(let frames, let reason): tellOfLostInput(frames, reason)
        }
    }

    /// A stream that cannot be taken ends the preparation.
    private func begin(_ receive: () throws(HostDaemonError) -> Void) {
        do throws(HostDaemonError) { try receive() } catch {
            report("stream-failed", error.description, level: .error)
            send(.rehearsalFailed(message: error.description))
        }
    }

    private func handle(_ message: ControlMessage) {
        switch message {
        case .heartbeat(let beat):
            let now = MonotonicClock.now
            times.lastHeard = max(times.lastHeard, now - min(beat.progressAge, now))
            if let limit = beat.silenceLimit { happen(.primaryBears(limit)) }
            happen(.heartbeat(progressAge: beat.progressAge))
            publish { [core] in $0.silenceLimitMilliseconds = MonotonicClock.milliseconds(core.silenceLimit) }
        case .takeOver(let word):
            guard let failure = GuestFailure(word: word) else { return }
            happen(.takeoverRequested(.guestFailed(failure)))
        case .prepareSwitchover: happen(.switchoverAnnounced)
        case .switchOver(let order):
            self.order = order
            happen(.takeoverRequested(.switchover(epoch: order.epoch)))
        case .imagesLeft: fence?.confirmByWord()
        case .dismiss(let word): happen(.dismissed(DismissalReason(word: word) ?? .cancelled))
        default: report("protocol", "the primary sent a message that only a backup sends", level: .warning)
        }
    }

    private func handle(_ event: EpochReceiver.Event) {
        switch event {
        case .staged(let identity, _):
            context.faults.pass(.epochStaged)
            stagedMemory = identity
            stageWhole()
        case .applied(let epoch):
            context.faults.pass(.epochApplied)
            publish { $0.epoch = epoch }
            shared.withLock { $0.lastCommit = MonotonicClock.now }
            happen(.epochApplied(epoch))
        case .rehearsed:
            context.faults.pass(.rehearsalLoaded)
            rehearsal = nil
            report("rehearsed", "a throwaway standby loaded a full checkpoint")
            happen(.rehearsed)
            send(.rehearsed)
        case .rehearsalFailed(let reason):
            send(.rehearsalFailed(message: reason))
            happen(.rehearsalFailed(reason: reason))
        case .torn(let identity, let reason):
            report("epoch-torn", "an epoch was thrown away: \(reason)", level: .warning)
            happen(.epochTorn(identity ?? EpochIdentity(generation: 0, sessionNonce: 0, epoch: 0), reason: reason))
        case .refused(let identity, let reason): refuseEpoch(identity, reason)
        case .standbyFailed(let reason): happen(.standbyDied(reason: reason))
        case .ended(let reason):
            guard acknowledges else { return }
            report("stream-ended", "the checkpoint stream from \(preparation.primary) ended: \(reason)", level: .info)
        }
    }

    func refuseEpoch(_ identity: EpochIdentity, _ reason: String) {
        report("epoch-refused", "epoch \(identity.epoch) was refused: \(reason)", level: .error)
        guard let stream else { return }
        do throws(LinkError) {
            try stream.send(.refusal(.init(identity: identity, code: 1, message: reason)), deadline: .now + .milliseconds(500))
        } catch {
            report("stream-failed", "the refusal could not be sent: \(error.message)", level: .warning)
        }
    }

    private func standbyEnded() {
        guard let standby else { return }
        let tail = standby.errorTail()
        let how = standby.exitStatus.map { "\($0)" } ?? "ended"
        self.standby = nil
        report("standby-died", "the standby QEMU ended (\(how)): \(tail)", level: .error)
        happen(.standbyDied(reason: "the standby QEMU ended (\(how)): \(tail)"))
    }
}
