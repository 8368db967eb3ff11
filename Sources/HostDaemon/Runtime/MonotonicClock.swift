internal import Glibc

/// The host's monotonic clock, in nanoseconds.
enum MonotonicClock {
    static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// A length of time that somebody else chose: at least none, at most ten years.
    static func nanoseconds(seconds: Double) -> UInt64 { seconds > 0 ? UInt64(min(seconds, 315_360_000) * 1e9) : 0 }

    static func milliseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1e6 }
}
