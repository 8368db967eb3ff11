internal import Glibc
internal import HostAPI
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// What the session of a guest that ran alone leaves to the one that protects it again.
struct Predecessor: Sendable {
    /// The arbiter's record under which the guest ran alone.
    var record: ArbiterRecord
    var saved: SessionRecord?
    var takeover: TakeoverTimes?
    /// The last committed epoch.
    var epoch: UInt64
}

/// A guest that ran here alone goes on alone when it cannot be protected again: as before, with the reason, and with its record kept.
extension PrimarySession {
    /// Takes over from a session that has retired.
    func succeed(_ session: PrimarySession) {
        guard session.isRetired, case .solo = session.core.state, let record = session.core.record else { return }
        let status = session.status
        predecessor = Predecessor(record: record, saved: session.saved, takeover: status.takeover, epoch: status.epoch)
        formerDisks = session.formerDisks
        (clock, clockTold) = (session.clock, session.clockTold)
        // An answer that is still under way goes to the session that asked.
        clock.settled(nil, now: MonotonicClock.now)
        publish { $0.takeover = status.takeover }
    }

    /// Goes on with the guest until another session takes it or it ends; false when there is nothing to go on with.
    func goOnAlone(after error: HostDaemonError) -> Bool {
        guard isEstablishing, !gateIsClosed, let predecessor else { return false }
        let actions = core.goOnAlone(since: predecessor.record, now: MonotonicClock.now)
        guard case .solo = core.state else { return false }
        isEstablishing = false
        saved = saved ?? predecessor.saved
        attempt { () throws(HostDaemonError) in try perform(actions) }
        if unprotectAsked { attempt { () throws(HostDaemonError) in try happen(.unprotectRequested) } }
        publish(
            .unprotected,
            "runs here WITHOUT a backup, since it could not be protected again: \(error.message). Then `understudy protect \(name) --backup \(request.backup)`"
        ) { $0.epoch = predecessor.epoch }
        if qmp == nil { connectAgain() }
        if processDescriptor < 0, let saved {
            if leftoverTaps.isEmpty { leftoverTaps = saved.taps }
            watchProcess(of: saved)
            if processDescriptor < 0 { attempt { () throws(HostDaemonError) in try happen(.guestFailed(.exited)) } }
        }
        goRound()
        return true
    }

    /// A failure is told, and does not come at full speed when the same is tried again.
    func attempt(_ body: () throws(HostDaemonError) -> Void) {
        do throws(HostDaemonError) { try body() } catch {
            report("failed", error.description, level: .error)
            usleep(100_000)
        }
    }

    func connectAgain() {
        do throws(QMPError) {
            qmp = try QMPClient(socketPath: qmpPath)
        } catch {
            report("monitor-failed", "QEMU's monitor does not answer: \(error.message)", level: .error)
        }
    }
}
