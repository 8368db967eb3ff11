internal import HostAPI
internal import Hypervisor
internal import Logging
internal import OutputRelay
internal import QMP

/// What the world sends to the guest while it is moved.
extension PrimarySession {
    /// Shares the taps' queues with the guest's QEMU, before the guest stands still.
    func openInput() {
        guard let machine else { return }
        do throws(OutputRelayError) {
            input = try InputForwarding(taps: machine.taps, process: machine.process.id, processDescriptor: processDescriptor)
        } catch {
            input = nil
            report(
                "input-lost", "what clients send while the guest is moved is lost, and they have to repeat it: \(error)", level: .warning)
        }
    }

    /// Sends what has come for the guest to the host that goes on with it.
    func forwardInput() {
        for frames in input?.take() ?? [] { send(.frames(frames)) }
    }

    /// Tells the next daemon whether the guest may be paused for a move, and not by its operator.
    func noteMove(_ isUnderWay: Bool) {
        guard var saved, (saved.isMoving ?? false) != isUnderWay else { return }
        saved.isMoving = isUnderWay
        do throws(HostDaemonError) { try save(saved) } catch {
            report(
                "record-not-saved", "\(error); a daemon that is restarted during the move would leave the guest paused", level: .error)
        }
    }

    /// Lets a guest run on that was stopped by QEMU itself, for its last checkpoint here.
    func unpause() {
        do throws(QMPError) {
            if let qmp {
                try qmp.execute("cont", timeout: .seconds(2))
            } else if saved?.isMoving == true {
                let monitor = try QMPClient(socketPath: qmpPath)
                defer { monitor.close() }
                try monitor.execute("cont", timeout: .seconds(2))
            } else {
                return
            }
            noteMove(false)
        } catch {
            report("resume-failed", "the guest was given back and does not resume: \(error.message)", level: .error)
        }
    }
}
