import Glibc
import QMP

extension StandbyProcess {
    /// Starts QEMU in a session of its own, so that it survives the caller, and prepares it to receive the stream.
    ///
    /// It runs in the calling thread's network namespace. Its output goes to `NAME.log` in `runtimeFolder`, which must exist.
    /// - Parameter timeout: until QEMU answers on its monitor and listens for the stream.
    public static func launch(
        _ commandLine: StandbyCommandLine, runtimeFolder: String, name: String, timeout: Duration = .seconds(30)
    ) throws(HypervisorError) -> StandbyProcess {
        let deadline = ContinuousClock.now + timeout
        let logPath = "\(runtimeFolder)/\(name).log"
        guard unlink(commandLine.qmpSocket) == 0 || errno == ENOENT else {
            throw HypervisorError(
                .launchFailed, "the old socket \(commandLine.qmpSocket) cannot be removed: \(ChildProcess.text(errno))")
        }
        let stream = try IncomingStream()
        let child = try ChildProcess(argv: commandLine.argv, log: logPath)
        do {
            let monitor = try connect(to: child, commandLine.qmpSocket, logPath, until: deadline)
            let process = StandbyProcess(
                child: child, commandLine: commandLine, logPath: logPath, monitor: monitor, stream: stream)
            try process.listen(until: deadline)
            return process
        } catch {
            child.kill()
            throw error
        }
    }

    /// Connects as soon as the socket is there.
    private static func connect(
        to child: ChildProcess, _ path: String, _ logPath: String, until deadline: ContinuousClock.Instant
    ) throws(HypervisorError) -> QMPClient {
        while true {
            if child.exitStatus != nil {
                throw HypervisorError(.standbyEnded, "the standby QEMU ended at its start" + diagnosis(child, logPath))
            }
            let left = ContinuousClock.now.duration(to: deadline)
            if left <= .zero {
                throw HypervisorError(.timeout, "the standby QEMU did not open its monitor in time" + diagnosis(child, logPath))
            }
            do {
                return try QMPClient(socketPath: path, greetingTimeout: left)
            } catch  where error.code == .connectFailed || error.code == .closed {
                // The socket is not there yet, or QEMU is ending. Its end wakes this wait.
                _ = child.waitForExit(until: .now + .milliseconds(5))
            } catch {
                throw HypervisorError(
                    .monitorFailed, "the standby's monitor does not answer: \(error.message)" + diagnosis(child, logPath), cause: error)
            }
        }
    }

    /// Hands QEMU its end of the stream. No socket file is needed, so it works under `-runas` and `-chroot`, and nobody else can
    /// connect.
    private func listen(until deadline: ContinuousClock.Instant) throws(HypervisorError) {
        // Image locks are taken at `cont`, not when the state is loaded: a rehearsal never takes them.
        let capabilities: JSONValue = [
            ["capability": "events", "state": true], ["capability": "late-block-activate", "state": true],
        ]
        try command("migrate-set-capabilities", ["capabilities": capabilities], until: deadline)
        if commandLine.purpose == .rehearsal {
            // QEMU announces the guest's MACs as soon as the state is loaded, whether the guest will run or not. Never 0 for a guest
            // that shall run: virtio-net then has no announcement timer and QEMU 7.2 crashes at the guest's next reset.
            try command("migrate-set-parameters", ["announce-rounds": 0], until: deadline)
        }
        try passStream(until: deadline)
    }
}
