import Foundation

/// How long hostile bytes are thrown at a daemon.
struct FuzzBudget {
    /// Seconds per test: `UNDERSTUDY_FUZZ_SECONDS`, else a minute. The two fuzz tests run side by side, beside the others.
    static let seconds = ProcessInfo.processInfo.environment["UNDERSTUDY_FUZZ_SECONDS"].flatMap { Double($0) } ?? 60

    private let begun = ContinuousClock.now

    var isSpent: Bool { ContinuousClock.now - begun >= .seconds(Self.seconds) }
    /// After a quarter the daemon has met every kind of input, and its memory is that of a daemon at work.
    var isWarm: Bool { ContinuousClock.now - begun >= .seconds(Self.seconds / 4) }
}
