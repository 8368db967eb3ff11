// SPDX-License-Identifier: Apache-2.0

/// Deadlines as poll(2) wants them.
enum PollTimeout {
    /// Milliseconds from now to the deadline, rounded up, at least 0 and at most one minute (callers ask again).
    static func milliseconds(until deadline: ContinuousClock.Instant) -> Int32 {
        let left = ContinuousClock.now.duration(to: deadline)
        guard left > .zero else { return 0 }
        guard left < .seconds(60) else { return 60_000 }
        let (seconds, attoseconds) = left.components
        return Int32(seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
