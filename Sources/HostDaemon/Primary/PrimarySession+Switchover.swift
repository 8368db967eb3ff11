internal import Glibc
internal import HostAPI
internal import Logging
internal import Synchronization
internal import UnderstudyCore

/// The planned move of the machine to its backup.
extension PrimarySession {
    /// How long after its time has run out a switchover may still be undecided, in seconds, before its client is told so.
    private static let undecidedSeconds = 20.0

    func switchover(_ request: SwitchoverRequest, goOn: () -> Bool) throws(HostDaemonError) -> SwitchoverReport {
        let ticket = SwitchoverTicket(request)
        mailbox.post(.switchover(ticket))
        let end = MonotonicClock.now + MonotonicClock.nanoseconds(seconds: request.timeoutSeconds + Self.undecidedSeconds)
        while true {
            if let result = ticket.result { return try result.get() }
            // The session settles its ticket before it is over, so one that is still open came too late.
            if isOver, ticket.result == nil {
                throw HostDaemonError(.refused, "\(name) cannot be switched over: \(status.message)")
            }
            guard goOn() else { throw HostDaemonError(.cancelled, "the client left; the switchover of \(name) goes on") }
            guard MonotonicClock.now < end else {
                throw HostDaemonError(
                    .timeout,
                    "who runs \(name) is not decided yet: \(status.message). Look after the arbiter and at `understudy events` on both hosts"
                )
            }
            usleep(1_000)
        }
    }

    func begin(_ ticket: SwitchoverTicket) throws(HostDaemonError) {
        guard self.ticket == nil else {
            ticket.settle(.failure(HostDaemonError(.busy, "a switchover of \(name) is under way already: \(status.message)")))
            return
        }
        self.ticket = ticket
        winnerHeardAt = nil
        context.faults.pass(.switchoverAsked)
        try happen(.switchoverRequested(timeout: MonotonicClock.nanoseconds(seconds: ticket.request.timeoutSeconds)))
    }

    func prepareSwitchover() {
        report("switchover-begun", "the machine will be moved to \(request.backup) on request")
        noteMove(true)
        openInput()
        send(.prepareSwitchover)
    }

    func heldForSwitchover() {
        publish(nil, "moving to \(request.backup): the guest stands still, its last epoch is on the way")
        context.faults.pass(.switchoverHeld)
    }

    func requestTakeover(_ reason: TakeoverRequest) {
        leaveImages()
        switch reason {
        case .guestFailed(let failure): send(.takeOver(failure: failure.word))
        case .switchover(let epoch):
            context.faults.pass(.switchoverReleased)
            let waiting = input?.take() ?? []
            send(
                .switchOver(
                    SwitchoverOrder(
                        epoch: epoch, intervalMilliseconds: request.intervalMilliseconds,
                        protectBack: ticket?.request.protectBack ?? false)))
            for frames in waiting { send(.frames(frames)) }
            context.faults.pass(.switchoverRequested)
        }
    }

    func switchoverCancelled(_ reason: String) {
        report("switchover-cancelled", "the machine is not moved to \(request.backup): \(reason)", level: .warning)
        // Whoever was asked to take over may still do it: then the end of this session, or its going solo, is the answer.
        if case .handingOver = core.state { return }
        if case .deciding = core.state { return }
        input = nil
        noteMove(false)
        failSwitchover(.peer, "\(name) was not switched over: \(reason). Its guest goes on here")
    }

    func failSwitchover(_ code: HostDaemonError.Code, _ message: String) {
        guard let ticket else { return }
        self.ticket = nil
        ticket.settle(.failure(HostDaemonError(code, message)))
    }

    /// The other host's guest runs and nothing of the old one is left here.
    func switchedOver() {
        guard let ticket else { return }
        self.ticket = nil
        let epoch = core.acknowledgedEpoch
        let gap = MonotonicClock.milliseconds((winnerHeardAt ?? MonotonicClock.now) - lastCut)
        report(
            "switched-over", "\(request.backup) runs the machine from epoch \(epoch) on",
            fields: ["epoch": "\(epoch)", "gap_ms": "\(gap)", "to": request.backup])
        ticket.settle(
            .success(
                SwitchoverReport(
                    name: name, from: context.configuration.name, to: request.backup, epoch: epoch,
                    generation: (core.record?.generation ?? 0) + 1, gapMilliseconds: gap)))
    }
}
