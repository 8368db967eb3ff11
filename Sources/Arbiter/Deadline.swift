// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A point of the monotonic clock until which something must be done.
struct Deadline: Sendable {
    let at: UInt64

    init(after nanoseconds: UInt64) {
        let (sum, overflow) = Self.now().addingReportingOverflow(nanoseconds)
        at = overflow ? .max : sum
    }

    private init(at: UInt64) {
        self.at = at
    }

    var remaining: UInt64 {
        let now = Self.now()
        return at > now ? at - now : 0
    }

    /// Milliseconds for poll(2), rounded up.
    var pollTimeout: Int32 { Int32(min((remaining + 999_999) / 1_000_000, 1_000_000)) }

    /// The earlier of this and `nanoseconds` from now.
    func limited(to nanoseconds: UInt64) -> Deadline {
        Deadline(at: min(at, Deadline(after: nanoseconds).at))
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
