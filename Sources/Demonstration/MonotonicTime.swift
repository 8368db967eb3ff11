import Glibc

/// CLOCK_MONOTONIC of this machine, in nanoseconds: the one clock of all records, so that they can be compared with each other.
public enum MonotonicTime {
    /// The present instant.
    public static func now() -> UInt64 { nanoseconds(of: CLOCK_MONOTONIC) }

    static func nanoseconds(of clock: clockid_t) -> UInt64 {
        var time = timespec()
        // A fixed clock identifier and a valid pointer: the call has no way to fail.
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    static func sleep(milliseconds: UInt64) {
        usleep(useconds_t(milliseconds * 1000))
    }
}
