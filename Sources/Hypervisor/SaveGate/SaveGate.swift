import Glibc
public import QMP

/// Stops the guest, takes its device state and lets it run again, with one QMP command per checkpoint.
///
/// `xen-save-devices-state` (device state only, no RAM, not tied to Xen) writes into an anonymous pipe whose write end QEMU got once by
/// `add-fd`. QEMU stops the vCPUs, drains and flushes the disks, starts to write and blocks while the pipe is full: the pipe turning
/// readable is the cut. QEMU resumes the guest itself when the pipe has been drained, or at once when nobody holds the read end.
///
/// Order of calls: `begin`, `waitForCut`, (copy memory), `drain`. After any error or refusal of these: `renew` before the next `begin`.
/// A save that *holds* the guest stops it beforehand and leaves it stopped: for the last checkpoint before a planned move. When such a save
/// fails or is abandoned, the gate lets the guest run again.
///
/// One thread at a time uses the gate and its `QMPClient`. Ask for `blocked-reasons` first: QEMU crashes when it saves a device that
/// cannot be migrated.
public final class SaveGate: @unchecked Sendable {
    // SAFETY: the documented contract is one thread at a time; nothing here is reached from elsewhere.
    private enum Phase { case ready, saving, cut, spoilt }

    private let qmp: QMPClient
    private let owner: (user: UInt32, group: UInt32)
    private var pipe: GatePipe?
    private var phase = Phase.ready
    /// A save command whose reply has not come yet.
    private var awaitsReply = false
    private var reply: QMPReply?
    /// The guest was stopped for the save under way and stays so after it.
    private var isHolding = false
    private var tracker: RunStatusTracker
    private var events: [QMPEvent] = []

    /// Makes the pipe, hands its write end to QEMU, and reads the run status.
    public init(qmp: QMPClient, timeout: Duration = .seconds(5)) throws(HypervisorError) {
        self.qmp = qmp
        let process = try ProcessDescription.identify(behind: qmp)
        owner = (process.userID, process.groupID)
        tracker = RunStatusTracker(status: .other("unknown"))
        pipe = try GatePipe(qmp: qmp, owner: owner, timeout: timeout)
        _ = try refreshStatus(timeout: timeout)
    }

    /// The read end of the pipe: readable at the cut. Changes with `renew`; -1 while the gate is spoilt.
    public var descriptor: CInt { pipe?.readEnd ?? -1 }

    /// Whether the gate is spoilt and needs `renew`.
    public var needsRenewal: Bool { phase == .spoilt }

    /// The guest's status as far as QEMU's events and answers have told it.
    public var status: RunStatus { tracker.status }

    /// Asks QEMU for the status again (about 0.1 ms).
    public func refreshStatus(timeout: Duration = .seconds(5)) throws(HypervisorError) -> RunStatus {
        let answer = try monitor { () throws(QMPError) in try qmp.execute("query-status", timeout: timeout) }
        collectKeptEvents()
        guard let name = answer["status"]?.string else {
            throw HypervisorError(.monitorFailed, "QEMU's answer to query-status names no status")
        }
        tracker.learn(RunStatus(name: name))
        return tracker.status
    }

    /// Sends the save command and returns at once. Throws `.notRunning` without having sent anything unless the guest runs.
    ///
    /// - Parameters:
    ///   - holding: stops the guest first, and waits for that. Once `drain` has returned, it is the caller who lets it run again.
    ///   - timeout: for that stop.
    ///   - stopped: called when it has stopped the guest.
    public func begin(
        holding: Bool = false, timeout: Duration = .seconds(5), stopped: () -> Void = {}
    ) throws(HypervisorError) {
        guard phase == .ready, let path = pipe?.path else {
            throw HypervisorError(.gateNotReady, "a save cannot begin: the gate is in use or spoilt; renew it first")
        }
        try pump()
        if !tracker.isCertain { _ = try refreshStatus() }
        guard tracker.status == .running else {
            throw HypervisorError(.notRunning, "the guest is not running but \(tracker.status.name): no checkpoint can be taken now")
        }
        tracker.beginSave()
        reply = nil
        isHolding = holding
        do throws(HypervisorError) {
            if holding {
                try monitor { () throws(QMPError) in _ = try qmp.execute("stop", timeout: timeout) }
                stopped()
            }
            try monitor { () throws(QMPError) in
                try qmp.send("xen-save-devices-state", arguments: ["filename": .string(path), "live": false])
            }
        } catch {
            spoil()
            throw error
        }
        awaitsReply = true
        phase = .saving
    }

    /// Waits until the guest is stopped. Throws `.timeout` (the save is still under way: `abandon` or wait again) or `.qemuGone`.
    public func waitForCut(timeout: Duration) throws(HypervisorError) -> CutOutcome {
        let deadline = Deadline(after: timeout)
        while true {
            if let outcome = try checkForCut() { return outcome }
            guard try waitForAnything(until: deadline) else {
                throw HypervisorError(.timeout, "QEMU did not stop the guest within \(timeout): it hangs, or its disks do")
            }
        }
    }

    /// The same without waiting, for an event loop that polls `descriptor` and the QMP descriptor; nil when there is no outcome yet.
    public func checkForCut() throws(HypervisorError) -> CutOutcome? {
        guard phase == .saving else { throw HypervisorError(.gateNotReady, "there is no save to wait for") }
        do throws(HypervisorError) {
            if let pipe, try pipe.bytesWaiting() > 0 {
                phase = .cut
                return .cut
            }
            try pump()
            switch reply {
            case nil: return nil
            case .failure(_, let description):
                spoil()
                return .refused(reason: description)
            case .success:
                // The bytes may have come between the two looks.
                if let pipe, try pipe.bytesWaiting() > 0 {
                    phase = .cut
                    return .cut
                }
                throw HypervisorError(.gateViolated, "QEMU confirmed a save of which nothing came through the gate")
            }
        } catch {
            spoil()
            throw error
        }
    }

    /// Takes the state into `arena` and returns when QEMU has confirmed it; the guest runs again, unless the save holds it.
    ///
    /// On every error the gate has let the guest go and must be renewed, and neither what is in the arena nor the memory copied since
    /// the cut may be used: `.gateViolated` (the guest ran again before the drain began), `.stateTooLarge`, `.saveFailed`,
    /// `.notRunning` (the guest was suspended, paused or shut down meanwhile), `.timeout`, `.qemuGone`.
    public func drain(into arena: UnsafeMutableRawBufferPointer, timeout: Duration) throws(HypervisorError) -> SavedState {
        guard phase == .cut else { throw HypervisorError(.gateNotReady, "there is no cut to drain") }
        do throws(HypervisorError) {
            try checkStillStopped()
            tracker.beginDrain()
            pipe?.resize(to: GatePipe.wide)
            let byteCount = try takeState(into: arena, deadline: Deadline(after: timeout), timeout: timeout)
            try checkState(arena, byteCount: byteCount)
            pipe?.resize(to: GatePipe.narrow)
            phase = .ready
            isHolding = false
            return SavedState(
                byteCount: byteCount, stoppedAtMicroseconds: tracker.stoppedAt, resumedAtMicroseconds: tracker.resumedAt)
        } catch {
            spoil()
            throw error
        }
    }

    /// Gives up a save under way: closes the read end, upon which QEMU reports an error and resumes the guest. Never fails.
    public func abandon() { spoil() }

    /// Waits for the end of an abandoned save and makes a new pipe (QEMU leaks a writer of the old one).
    public func renew(timeout: Duration = .seconds(5)) throws(HypervisorError) {
        spoil()
        let deadline = Deadline(after: timeout)
        try pump()
        while awaitsReply {
            guard try waitForAnything(until: deadline) else {
                throw HypervisorError(.timeout, "QEMU did not end an abandoned save within \(timeout): it hangs, or its disks do")
            }
            try pump()
        }
        _ = try refreshStatus(timeout: timeout)
        try resumeFromSave(timeout: timeout)
        pipe = try GatePipe(qmp: qmp, owner: owner, timeout: timeout)
        collectKeptEvents()
        phase = .ready
    }

    /// The events that came meanwhile, oldest first, among them the gate's own `STOP` and `RESUME`. Reads what waits on the socket.
    ///
    /// Throws (`.qemuGone`) only when no event is left to hand out.
    public func takeEvents() throws(HypervisorError) -> [QMPEvent] {
        do throws(HypervisorError) {
            try pump()
        } catch {
            // With events left, the failure stays with the client and is thrown by the next call.
            if events.isEmpty { throw error }
        }
        defer { events = [] }
        return events
    }
}

extension SaveGate {
    /// Takes every message that waits on the socket.
    private func pump() throws(HypervisorError) {
        collectKeptEvents()
        while let message = try monitor({ () throws(QMPError) in try qmp.receive(timeout: .zero) }) { note(message) }
    }

    private func note(_ message: QMPMessage) {
        switch message {
        case .event(let event):
            tracker.note(event)
            events.append(event)
        case .reply(let answer):
            guard awaitsReply else { return }
            reply = answer
            awaitsReply = false
        }
    }

    private func collectKeptEvents() {
        for event in qmp.takeEvents() { note(.event(event)) }
    }

    private func waitForAnything(until deadline: Deadline) throws(HypervisorError) -> Bool {
        if qmp.hasBufferedMessage { return true }
        // A pipe without writers counts as readable for ever: only the deadline ends that.
        if deadline.hasPassed { return false }
        return try monitor { () throws(QMPError) in try deadline.waitToRead(descriptor, qmp.descriptor) }
    }

    /// QEMU announces a resumption before any vCPU runs, so that its absence proves that the guest stood still until now.
    private func checkStillStopped() throws(HypervisorError) {
        try pump()
        if case .failure(_, let description) = reply {
            throw HypervisorError(.saveFailed, "QEMU gave up the save: \(description)")
        }
        if reply != nil || tracker.hasResumed {
            throw HypervisorError(.gateViolated, "the guest ran again before the gate was drained: its device state fits into the pipe")
        }
    }

    private func takeState(
        into arena: UnsafeMutableRawBufferPointer, deadline: Deadline, timeout: Duration
    ) throws(HypervisorError) -> Int {
        var byteCount = 0
        while true {
            try takeBytes(into: arena, byteCount: &byteCount)
            if let reply {
                guard case .failure(_, let description) = reply else { return byteCount }
                throw HypervisorError(.saveFailed, "QEMU gave up the save: \(description)")
            }
            guard try waitForAnything(until: deadline) else {
                throw HypervisorError(.timeout, "QEMU did not finish its device state within \(timeout): it hangs or is stopped")
            }
            // The reply is looked for before the bytes are: all bytes of the state precede it.
            try pump()
        }
    }

    private func takeBytes(into arena: UnsafeMutableRawBufferPointer, byteCount: inout Int) throws(HypervisorError) {
        guard let pipe else { throw HypervisorError(.gateNotReady, "the gate is gone") }
        while byteCount < arena.count {
            guard let count = try pipe.read(into: UnsafeMutableRawBufferPointer(rebasing: arena[byteCount...])) else { return }
            byteCount += count
        }
        guard try pipe.bytesWaiting() == 0 else {
            throw HypervisorError(.stateTooLarge, "the device state does not fit \(arena.count) bytes: give the arena more room")
        }
    }

    private func checkState(_ arena: UnsafeMutableRawBufferPointer, byteCount: Int) throws(HypervisorError) {
        guard arena[..<byteCount].starts(with: [0x51, 0x45, 0x56, 0x4D]) else {
            throw HypervisorError(.gateViolated, "what came through the gate does not begin with QEVM: it is not a device state")
        }
        if isHolding ? tracker.savedStoppedGuest : tracker.savedRunningGuest { return }
        let status = try refreshStatus()
        try resumeFromSave(timeout: .seconds(5))
        throw HypervisorError(.notRunning, "the guest was not running while it was saved (now: \(status.name))")
    }

    /// A guest that was in S3 stays in `save-vm` on QEMU 9 and later: `cont` brings it back to S3.
    private func resumeFromSave(timeout: Duration) throws(HypervisorError) {
        guard tracker.status == .other("save-vm") else { return }
        try monitor { () throws(QMPError) in _ = try qmp.execute("cont", timeout: timeout) }
        _ = try refreshStatus(timeout: timeout)
    }

    /// Lets the guest go, whatever the phase.
    private func spoil() {
        pipe = nil
        phase = .spoilt
        guard isHolding else { return }
        isHolding = false
        // Nobody waits for its answer. A monitor that is gone says so at every later use.
        do throws(QMPError) { try qmp.send("cont") } catch { return }
    }
}
