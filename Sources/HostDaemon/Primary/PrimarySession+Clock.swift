internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Logging
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// The guest's clock, which stands still while the guest does.
extension PrimarySession {
    /// Gives back what the clock lost, by the guest's own agent where there is one. Cheap when nothing is due; call it often.
    func correctClock() {
        let now = MonotonicClock.now
        guard let owed = clock.due(now: now) else { return }
        publishClock()
        guard let path = agentPath() else { return clock.settled(nil, now: now) }
        do throws(HostDaemonError) {
            try DedicatedThread(name: "guest-clock") { [mailbox] in
                do throws(QMPError) {
                    try Self.advanceClock(by: owed, at: path)
                    mailbox.post(.clockSet(owed))
                } catch {
                    mailbox.post(.clockNotSet(error.message))
                }
            }
        } catch { clockNotSet(error.message) }
    }

    /// The agent is asked what the guest's time is and told a later one. A guest that is not behind the host has got its time from elsewhere, by NTP
    /// for one; one that is further behind than the pauses explain is so on purpose, and stays so.
    private static func advanceClock(by owed: UInt64, at path: String) throws(QMPError) {
        let agent = try GuestAgent(socketPath: path)
        try agent.synchronise()
        let asked = MonotonicClock.now
        let time = try agent.time()
        let answered = MonotonicClock.now
        let behind = hostTime() - time - Int64(answered - asked) / 2
        let amount = min(behind, Int64(owed))
        guard amount >= smallestStep else { return }
        // The time was told about half a question's way ago, and the order takes as long to arrive.
        try agent.setTime(time &+ Int64(answered - asked) &+ amount)
    }

    /// Less is not worth a step: what a loaded host needs for a question and its answer is not known better.
    private static let smallestStep: Int64 = 10_000_000

    /// Nanoseconds since 1970.
    private static func hostTime() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    private func agentPath() -> String? {
        guard let qmp, let pid = machine?.process.id ?? saved?.processID else { return nil }
        do throws(HypervisorError) {
            guard let channel = try GuestAgentChannel.find(in: qmp, processID: pid) else {
                tellClock("the machine has no port for qemu-guest-agent on a Unix socket")
                return nil
            }
            switch channel.state {
            case .free: return channel.path
            case .inUse: tellClock("somebody else uses the port of qemu-guest-agent (\(channel.path)), libvirt for one")
            case .unopened: tellClock("no agent runs in the guest")
            }
        } catch { tellClock(error.message) }
        return nil
    }

    func clockSet(_ owed: UInt64) {
        clock.settled(owed, now: MonotonicClock.now)
        publishClock()
        guard clockTold != "" else { return }
        clockTold = ""
        report("clock-corrected", "the guest's agent takes back what the clock loses in pauses", level: .info)
    }

    func clockNotSet(_ reason: String) {
        clock.settled(nil, now: MonotonicClock.now)
        tellClock(reason)
    }

    /// Each new reason once.
    private func tellClock(_ reason: String) {
        guard clockTold != reason else { return }
        clockTold = reason
        publishClock(reason)
        report(
            "clock-not-corrected",
            "the guest's clock has lost \(clock.lost / 1_000_000) ms in pauses and nobody takes it back here: \(reason). See to it in the guest (chrony)",
            level: .info)
    }

    func publishClock(_ reason: String? = nil) {
        let clock = clock
        publish { status in
            let before = status.clock?.reason
            status.clock = ClockStatus(
                lostSeconds: Double(clock.lost) / 1e9, correctedSeconds: Double(clock.corrected) / 1e9,
                reason: reason ?? (clock.corrected > 0 ? nil : before))
        }
    }
}
