// SPDX-License-Identifier: Apache-2.0

/// Says when the next checkpoint is due and whether the one under way takes too long. Times in nanoseconds of the monotonic clock.
///
/// An interval from cut to cut, which is the operator's or the `Autopilot`'s. The next cut also waits until the protocol allows it, which is when the epoch before it has been
/// acknowledged: on a slow link the epoch grows instead of the backlog.
public struct CheckpointPacer: Sendable, Hashable {
    private enum Phase: Sendable, Hashable {
        case idle
        case saving(since: UInt64)
        /// The guest is stopped and the pages are copied: our own work, which has no limit here.
        case copying
        case draining(since: UInt64)
    }

    /// From cut to cut; may change at any time.
    public var interval: UInt64
    private let limit: UInt64
    private let ownPause: UInt64
    private var phase: Phase = .idle
    private var lastCut: UInt64?
    private var allowedAt: UInt64?
    private var lastObserved: UInt64 = 0

    /// - Parameters:
    ///   - interval: from cut to cut.
    ///   - limit: the detection time, within which QEMU must reach the cut point and must end the save.
    ///   - ownPause: a gap between two calls of `failure` that is longer starts the limit afresh: we slept, not QEMU.
    public init(interval: UInt64, limit: UInt64, ownPause: UInt64) {
        self.interval = interval
        self.limit = limit
        self.ownPause = ownPause
    }

    /// The protocol allows the next cut.
    public mutating func allowed(now: UInt64) {
        if allowedAt == nil { allowedAt = now }
    }

    /// The protocol allows no cut any more.
    public mutating func revoked() {
        allowedAt = nil
    }

    /// The time at which the allowed cut is due (may lie in the past); nil while none is allowed or one is under way.
    public var due: UInt64? {
        guard phase == .idle, let allowedAt else { return nil }
        return lastCut.map { $0 &+ interval } ?? allowedAt
    }

    /// Whether the allowed cut was due before it was allowed.
    public var isLate: Bool {
        guard let allowedAt, let lastCut else { return false }
        return allowedAt > lastCut &+ interval
    }

    /// When the last cut was; nil before the first.
    public var previousCut: UInt64? { lastCut }

    /// The gated save was asked for.
    public mutating func began(now: UInt64) {
        allowedAt = nil
        lastObserved = now
        phase = .saving(since: now)
    }

    /// The pipe is readable: the guest is stopped.
    public mutating func cut(now: UInt64) {
        lastCut = now
        phase = .copying
    }

    /// The drain began: QEMU may end the save and resume the guest.
    public mutating func drained(now: UInt64) {
        lastObserved = now
        phase = .draining(since: now)
    }

    /// The save's reply came; also for one that was given up. An attempt without a cut counts for the interval: a guest that is paused
    /// for an hour is asked once per interval and not without end.
    public mutating func ended(now: UInt64) {
        if case .saving = phase { lastCut = now }
        phase = .idle
    }

    /// The guest's failure if the save under way is overdue. Call it at every tick.
    public mutating func failure(now: UInt64) -> GuestFailure? {
        let paused = now > lastObserved && now - lastObserved > ownPause
        lastObserved = max(lastObserved, now)
        switch phase {
        case .idle, .copying: return nil
        case .saving(let since):
            if paused { phase = .saving(since: now) }
            return !paused && now > since && now - since > limit ? .noCutPoint : nil
        case .draining(let since):
            if paused { phase = .draining(since: now) }
            return !paused && now > since && now - since > limit ? .saveDidNotEnd : nil
        }
    }
}
