internal import HostAPI
internal import Logging
internal import Synchronization

/// What the world sends to the guest while it is moved here.
extension BackupSession {
    /// Takes what came for the guest at its old host. Called by the channel's event loop: while the session is busy loading the guest's state,
    /// the frames are there when the guest is about to run, and later they go on at once.
    func keep(_ frames: [ForwardedFrame]) {
        let lost = input.withLock { $0.take(frames, now: MonotonicClock.now) }
        if let lost { mailbox.post(.inputLost(lost.count, lost.reason)) }
    }

    /// Before the guest runs, with its taps open.
    func handOverInput() {
        let lost = input.withLock { $0.handOver(to: taps, now: MonotonicClock.now) }
        if let lost { tellOfLostInput(lost.count, lost.reason) }
    }

    func tellOfLostInput(_ frames: Int, _ reason: String) {
        report("input-lost", "\(frames) frames that clients sent during the move are lost, as on a full link: \(reason)", level: .info)
    }
}
