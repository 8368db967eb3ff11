import Glibc
public import QMP
public import UnderstudyCore

/// A waiting QEMU that is fed through its incoming migration stream, from launch to takeover.
///
/// Order of use: `launch`, `begin`, any number of `append`/`flush`, then either `rehearse` or `activate`, then `run` and `announce`.
/// One thread at a time calls these; `kill`, `pid`, `pidfd`, `exitStatus` and `errorTail` may be used by any thread.
/// Every call that waits has a time limit; a QEMU that ends or hangs yields an error with the end of its error output. After an error
/// the process is of no further use: `kill` it.
///
/// A QEMU that waits for its stream ends itself when the stream closes, thus with this object or this process. Once activated, it
/// lives on by itself.
public final class StandbyProcess: @unchecked Sendable {
    // SAFETY: `monitor`, `stream` and `writer` are used by the one thread that drives the object (documented contract); the rest is
    // immutable or locks itself.

    /// How a QEMU ended.
    public enum Exit: Sendable, Equatable {
        case status(Int32)
        case signal(Int32)
    }

    /// How long the parts of a takeover took, nanoseconds.
    public struct ActivationTimes: Codable, Sendable, Equatable {
        /// Writing the end of RAM and the device state.
        public var write: UInt64
        /// From there until QEMU reported that it has loaded everything.
        public var load: UInt64
    }

    public let commandLine: StandbyCommandLine
    /// The private monitor. Belongs to the thread that drives this object.
    public let monitor: QMPClient

    let child: ChildProcess
    private let logPath: String
    private var stream: IncomingStream?
    private var writer: MigrationPartWriter?

    init(child: ChildProcess, commandLine: StandbyCommandLine, logPath: String, monitor: QMPClient, stream: IncomingStream) {
        self.child = child
        self.commandLine = commandLine
        self.logPath = logPath
        self.monitor = monitor
        self.stream = stream
    }

    /// The process id. The child is reaped when its end is noticed; signals go through the pidfd.
    public var pid: Int32 { child.pid }
    /// Readable once the process has ended; for poll(2). Owned by this object.
    public var pidfd: Int32 { child.pidfd }

    /// Sends the stream's header and the list of RAM blocks. A block that this QEMU does not have, or another machine type, ends it;
    /// the error may come with a later call.
    public func begin(blocks: [RAMBlock], machineType: String, timeout: Duration = .seconds(10)) throws(HypervisorError) {
        let deadline = ContinuousClock.now + timeout
        let opening: [UInt8]
        do {
            writer = try MigrationPartWriter(blocks: blocks)
            opening = try MigrationStream.opening(machineType: machineType, blocks: blocks)
        } catch {
            throw HypervisorError(.loadFailed, "the standby's stream cannot begin: \(error.message)", cause: error)
        }
        try write([opening], until: deadline)
    }

    /// Adds a page to the current part, writing full parts to QEMU as needed.
    ///
    /// Only pages of a complete, verified epoch may be given: what was written cannot be taken back.
    /// - Parameters:
    ///   - block: index into the blocks given to `begin`.
    ///   - page: 4096 bytes that stay unchanged until `flush` returns; nil for zeros.
    public func append(block: Int, offset: UInt64, page: UnsafeRawPointer?) throws(HypervisorError) {
        try append(block: block, offset: offset, content: page.map { .whole($0) } ?? .zero)
    }

    /// Adds what an epoch says of a page; as the other `append`. A delta is applied by QEMU, to the page as all that was given before has left it.
    public func append(block: Int, offset: UInt64, content: StagedPage.Content) throws(HypervisorError) {
        guard let writer else { throw HypervisorError(.loadFailed, "the standby's stream has not begun, or has ended") }
        do {
            if try writer.append(block: block, offset: offset, content: content) { return }
        } catch {
            throw HypervisorError(.loadFailed, error.message, cause: error)
        }
        try flush()
        do {
            _ = try writer.append(block: block, offset: offset, content: content)
        } catch {
            throw HypervisorError(.loadFailed, error.message, cause: error)
        }
    }

    /// Writes what `append` left. Afterwards every page given is in the stream.
    public func flush(timeout: Duration = .seconds(10)) throws(HypervisorError) {
        guard let writer, writer.pageCount > 0 else { return }
        writer.finish()
        let segments = writer.segments
        try withStream { stream throws(IncomingStream.Failure) in try stream.write(segments, until: .now + timeout) }
        writer.reset()
    }

    /// Waits until QEMU has placed everything written so far: its memory is then that of the last epoch, for whoever compares memories.
    ///
    /// QEMU places what it has read before its main loop goes on, and a part of at most 4096 pages without a break (`ram_load_precopy`), so
    /// an answer of its monitor, asked for after the socket has run empty, comes after the last page.
    public func waitUntilPlaced(timeout: Duration = .seconds(10)) throws(HypervisorError) {
        let deadline = ContinuousClock.now + timeout
        try withStream { stream throws(IncomingStream.Failure) in
            while try !stream.isTaken() {
                guard ContinuousClock.now < deadline else { throw .timeout }
                usleep(200)
            }
        }
        try command("query-status", until: deadline)
    }

    /// Ends the RAM, loads `deviceState` and waits until QEMU has it all, then ends this QEMU. The guest never runs in it.
    public func rehearse(deviceState: UnsafeRawBufferPointer, timeout: Duration = .seconds(30)) throws(HypervisorError) {
        defer { kill() }
        try activate(deviceState: deviceState, timeout: timeout)
    }

    /// Ends the RAM, loads `deviceState` and waits until QEMU has it all. The guest does not run yet.
    @discardableResult
    public func activate(
        deviceState: UnsafeRawBufferPointer, timeout: Duration = .seconds(5)
    ) throws(HypervisorError) -> ActivationTimes {
        let start = ContinuousClock.now
        let deadline = start + timeout
        try flush(timeout: timeout)
        writer = nil
        let sections: UnsafeRawBufferPointer
        do {
            sections = try MigrationStream.deviceSections(of: deviceState)
        } catch {
            throw HypervisorError(.loadFailed, error.message, cause: error)
        }
        try write([MigrationStream.ramEnd()], sections, [MigrationStream.trailer], until: deadline)
        let written = ContinuousClock.now
        try waitUntilLoaded(until: deadline)
        return ActivationTimes(write: start.duration(to: written).nanoseconds, load: written.duration(to: .now).nanoseconds)
    }

    /// Lets frames pass at the netdevs that are no taps. Right before `run`.
    public func openNetworks() throws(HypervisorError) {
        if !commandLine.deafNetworks.isEmpty { try DeafNetwork.open(monitor) }
    }

    /// Lets the guest run and verifies that it does.
    public func run(timeout: Duration = .seconds(5)) throws(HypervisorError) {
        let deadline = ContinuousClock.now + timeout
        try command("cont", until: deadline)
        let status = try command("query-status", until: deadline)["status"]?.string ?? "unknown"
        guard status == "running" else {
            throw HypervisorError(.standbyNotRunning, "the standby's state is \"\(status)\" after cont, not running" + diagnosis())
        }
    }

    /// Makes the guest's network cards announce their MACs, so that bridges and switches learn the new place. `run` comes first.
    public func announce(timeout: Duration = .seconds(2)) throws(HypervisorError) {
        try command("announce-self", Self.announcement, until: .now + timeout)
    }

    /// QEMU's own defaults for a migration, milliseconds.
    private static let announcement: JSONValue = ["initial": 50, "max": 550, "rounds": 5, "step": 100]

    /// Lets the guest run in a standby that an earlier daemon has activated, and announces it.
    ///
    /// - Parameter monitor: a connection of the caller's own to that QEMU.
    public static func resume(_ monitor: QMPClient, timeout: Duration = .seconds(30)) throws(QMPError) {
        try monitor.execute("cont", timeout: timeout)
        try monitor.execute("announce-self", arguments: announcement)
    }

    /// Closes this object's monitor connection and stream but leaves QEMU running: its private socket (`commandLine.qmpSocket`)
    /// is free for another client. Only after `activate`: a QEMU that waits for its stream ends.
    public func detach() {
        monitor.close()
        stream = nil
    }

    /// Ends QEMU with SIGKILL and reaps it; does nothing when it has ended. Any thread.
    public func kill() { child.kill() }

    /// How QEMU ended; nil while it runs. Any thread.
    public var exitStatus: Exit? { child.exitStatus }

    /// The end of QEMU's error output, at most 2 KiB.
    public func errorTail() -> String { ErrorLog.tail(of: logPath) }
}

extension StandbyProcess {
    private func write(_ opening: [[UInt8]], until deadline: ContinuousClock.Instant) throws(HypervisorError) {
        try write(opening, UnsafeRawBufferPointer(start: nil, count: 0), [], until: deadline)
    }

    private func write(
        _ before: [[UInt8]], _ middle: UnsafeRawBufferPointer, _ after: [[UInt8]], until deadline: ContinuousClock.Instant
    ) throws(HypervisorError) {
        let head = before.flatMap { $0 }
        let tail = after.flatMap { $0 }
        try withStream { stream throws(IncomingStream.Failure) in
            try stream.write(head: head, middle, tail: tail, until: deadline)
        }
    }

    private func withStream(
        _ body: (IncomingStream) throws(IncomingStream.Failure) -> Void
    ) throws(HypervisorError) {
        guard let stream else { throw HypervisorError(.loadFailed, "the standby's stream is closed") }
        do {
            try body(stream)
        } catch {
            switch error {
            case .closed: throw ended("closed its stream", cause: nil)
            case .timeout: throw HypervisorError(.timeout, "the standby did not take its stream in time; it hangs" + diagnosis())
            case .systemCall(let number):
                throw HypervisorError(.systemCall, "writing to the standby failed: \(ChildProcess.text(number))" + diagnosis())
            }
        }
    }

    /// Gives QEMU its end of the stream and lets it wait there.
    func passStream(until deadline: ContinuousClock.Instant) throws(HypervisorError) {
        guard let remote = stream?.remoteEnd else { preconditionFailure("the stream is passed once, at launch") }
        try command("getfd", ["fdname": "understudy"], passing: remote, until: deadline)
        stream?.closeRemoteEnd()
        try command("migrate-incoming", ["uri": "fd:understudy"], until: deadline)
    }

    /// Waits for `completed`. Events tell it at once; the question is for an event that was lost.
    private func waitUntilLoaded(until deadline: ContinuousClock.Instant) throws(HypervisorError) {
        while true {
            for event in monitor.takeEvents() {
                if try isLoaded(event) { return }
            }
            let left = ContinuousClock.now.duration(to: deadline)
            if left <= .zero {
                throw HypervisorError(.timeout, "the standby did not load the device state in time" + diagnosis())
            }
            let message: QMPMessage?
            do {
                message = try monitor.receive(timeout: min(left, .milliseconds(250)))
            } catch {
                throw failure(of: "loading the state", error)
            }
            if case .event(let event)? = message {
                if try isLoaded(event) { return }
            } else if try isLoaded(command("query-migrate", until: deadline)["status"]?.string) {
                return
            }
        }
    }

    private func isLoaded(_ event: QMPEvent) throws(HypervisorError) -> Bool {
        guard event.name == "MIGRATION" else { return false }
        return try isLoaded(event.data["status"]?.string)
    }

    private func isLoaded(_ status: String?) throws(HypervisorError) -> Bool {
        switch status {
        case "completed"?: true
        case "failed"?, "cancelled"?: throw ended("refused the state", cause: nil)
        default: false
        }
    }

    @discardableResult
    func command(
        _ name: String, _ arguments: JSONValue? = nil, passing descriptor: Int32? = nil, until deadline: ContinuousClock.Instant
    ) throws(HypervisorError) -> JSONValue {
        let left = max(.milliseconds(1), ContinuousClock.now.duration(to: deadline))
        do {
            return try monitor.execute(name, arguments: arguments, passing: descriptor, timeout: left)
        } catch {
            throw failure(of: name, error)
        }
    }

    private func failure(of what: String, _ error: QMPError) -> HypervisorError {
        switch error.code {
        case .closed: ended("ended during \(what)", cause: error)
        case .timeout: HypervisorError(.timeout, "the standby did not answer in time during \(what)" + diagnosis(), cause: error)
        default: HypervisorError(.monitorFailed, "\(what) failed on the standby: \(error.message)" + diagnosis(), cause: error)
        }
    }

    /// QEMU refused the stream or closed a connection: it is ending, and its error output and status follow within moments.
    private func ended(_ what: String, cause: (any Error)?) -> HypervisorError {
        let exit = child.waitForExit(until: .now + .seconds(2))
        return HypervisorError(exit == nil ? .loadFailed : .standbyEnded, "the standby QEMU \(what)" + diagnosis(), cause: cause)
    }

    func diagnosis() -> String { Self.diagnosis(child, logPath) }

    static func diagnosis(_ child: ChildProcess, _ logPath: String) -> String {
        let state =
            switch child.exitStatus {
            case .status(let code)?: " (it exited with status \(code))"
            case .signal(let number)?: " (it was ended by signal \(number))"
            case nil: ""
            }
        let tail = ErrorLog.tail(of: logPath)
        return state + (tail.isEmpty ? "; it wrote no error output" : "; it says: \(tail)")
    }
}

extension Duration {
    /// Whole nanoseconds; 0 when negative.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        return seconds < 0 ? 0 : UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    }
}

extension HypervisorError.Code {
    /// The standby ended; the message has its exit status and the end of its error output.
    public static let standbyEnded = Self(rawValue: "standbyEnded")
    /// The standby could not be started.
    public static let launchFailed = Self(rawValue: "launchFailed")
    /// The standby did not take the stream or the state, and did not end by itself either.
    public static let loadFailed = Self(rawValue: "loadFailed")
    /// `cont` did not lead to a running guest.
    public static let standbyNotRunning = Self(rawValue: "standbyNotRunning")
}
