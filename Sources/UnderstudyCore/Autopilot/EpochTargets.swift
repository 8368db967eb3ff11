// SPDX-License-Identifier: Apache-2.0

/// What an operator wants of the epochs' length when it is not fixed. Times in nanoseconds.
public struct EpochTargets: Sendable, Equatable {
    /// How long a commit may take, from the cut to the backup's acknowledgement, when output comes after a quiet time: it bounds how much
    /// changed memory a quiet epoch may gather.
    public var latency: UInt64
    /// The share of the time, 0 to 1, that the guest may stand still while its output waits again and again.
    public var overhead: Double
    /// The shortest time from cut to cut.
    public var shortest: UInt64
    /// The longest time from cut to cut.
    public var longest: UInt64

    public init(
        latency: UInt64 = 10_000_000, overhead: Double = 0.1, shortest: UInt64 = 4_000_000, longest: UInt64 = 100_000_000
    ) {
        self.latency = latency
        self.overhead = overhead
        self.shortest = shortest
        self.longest = max(shortest, longest)
    }
}

/// How long an epoch may last, and why.
public struct EpochDecision: Sendable, Equatable {
    /// From cut to cut, in nanoseconds.
    public var interval: UInt64
    public var reason: Reason

    public init(interval: UInt64, reason: Reason) {
        self.interval = interval
        self.reason = reason
    }

    public enum Reason: String, Sendable, CaseIterable {
        /// The operator fixed it.
        case fixed
        /// Output waits: as soon as may be.
        case outputWaits = "output-waits"
        /// Output waits, and checkpoints at a quicker rate would stop the guest for a larger share of the time than wanted.
        case pauseShare = "pause-share"
        /// Nothing waits: as seldom as may be.
        case quiet
        /// Nothing waits, and a longer epoch would take too long to commit when something does.
        case commitTime = "commit-time"
        /// Nothing waits, and a longer epoch might not fit into the staging memory.
        case room
        /// It was due, and the epoch before it was not acknowledged yet.
        case acknowledgement
    }
}
