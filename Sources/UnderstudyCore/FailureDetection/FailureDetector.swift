// SPDX-License-Identifier: Apache-2.0

/// Suspects a peer that has been silent for longer than the limit, and does not blame the peer for our own pauses.
///
/// The limit follows the rhythm of the signs of life within two bounds: on a quiet link it is the lower one, where signs come irregularly (a busy
/// link, a starved host) it grows, so that a slow peer is not taken for a dead one.
///
/// A daemon that was stopped or starved finds old time stamps when it wakes up, while the peer's messages wait in its sockets. So every
/// gap between two of our own observations that is too long gives the peer a fresh period of grace, but only a few times in a row: a
/// host that is starved for good must still be able to find out that its peer is dead.
public struct FailureDetector: Sendable, Hashable {
    public enum Observation: Sendable, Hashable {
        case nothing
        /// We ourselves did not run for this long; the peer got a fresh period of grace.
        case ownPause(nanoseconds: UInt64)
    }

    /// How many periods of grace follow each other without a sign of life in between.
    public static let graceLimit = 3

    /// The least silence after which the peer is suspected, nanoseconds.
    public let limit: UInt64
    /// The silence after which it is suspected however irregular it was before, nanoseconds.
    public let longestLimit: UInt64
    /// A gap between two observations longer than this is a pause of our own, nanoseconds.
    public let ownPause: UInt64
    /// The time at which the peer is known to have been alive, or at which its last period of grace began.
    public private(set) var lastHeard: UInt64
    private var lastObserved: UInt64
    private var graces = 0
    private var rhythm = ArrivalRhythm()
    private var borne: UInt64 = 0
    /// When the last sign came that belongs to the rhythm; nil right after a pause of ours, which says nothing of the peer.
    private var lastBeat: UInt64?

    /// - Parameter longestLimit: nil: the limit is fixed.
    public init(limit: UInt64, longestLimit: UInt64? = nil, ownPause: UInt64, now: UInt64) {
        self.limit = limit
        self.longestLimit = max(limit, longestLimit ?? limit)
        self.ownPause = ownPause
        lastHeard = now
        lastObserved = now
    }

    /// Must precede every event that is handled at `now`.
    public mutating func observe(now: UInt64) -> Observation {
        guard now > lastObserved else { return .nothing }
        let gap = now - lastObserved
        lastObserved = now
        guard gap > ownPause else { return .nothing }
        lastBeat = nil
        if graces < Self.graceLimit {
            graces += 1
            lastHeard = max(lastHeard, now)
        }
        return .ownPause(nanoseconds: gap)
    }

    /// The peer gave a sign of life that was already `age` old when it was sent.
    ///
    /// - Parameter isBeat: it is one of those that come by themselves at their time, from whose intervals the limit follows.
    public mutating func heard(now: UInt64, age: UInt64 = 0, isBeat: Bool = true) {
        let alive = now - min(age, now)
        if isBeat { beat(alive) }
        if alive >= lastHeard {
            lastHeard = alive
            graces = 0
        }
    }

    private mutating func beat(_ time: UInt64) {
        defer { lastBeat = max(time, lastBeat ?? 0) }
        guard let lastBeat, time > lastBeat, longestLimit > limit else { return }
        rhythm.add(min(time - lastBeat, longestLimit))
    }

    /// At least so much silence is borne from now on, within the bounds, whatever the rhythm.
    public mutating func bear(_ nanoseconds: UInt64) { borne = nanoseconds }

    /// The silence that is borne now, nanoseconds.
    public var currentLimit: UInt64 { min(max(limit, rhythm.tolerated, borne), longestLimit) }

    /// How long the peer has been silent, nanoseconds.
    public func silence(now: UInt64) -> UInt64 { now > lastHeard ? now - lastHeard : 0 }

    /// True if the peer has been silent for longer than the limit.
    public func suspects(now: UInt64) -> Bool { silence(now: now) > currentLimit }
}
