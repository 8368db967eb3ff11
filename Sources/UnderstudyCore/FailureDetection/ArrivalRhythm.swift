// SPDX-License-Identifier: Apache-2.0

/// How regularly a peer's signs of life arrive, and how long a silence is nothing unusual.
///
/// After the accrual detector of Hayashibara, Defago, Yared and Katayama ("The phi accrual failure detector", SRDS 2004): the intervals of a
/// window are taken as normally distributed, and a silence counts when its probability is below 10^-8 (phi = 8), which is 5.61 standard deviations
/// above the mean. Such a tail is too thin for a host that is starved now and then, so half as much again as the longest interval is borne as well.
public struct ArrivalRhythm: Sendable, Hashable {
    /// Intervals that are remembered: a few seconds of heartbeats.
    public static let window = 128
    /// With fewer nothing is said.
    public static let fewest = 16
    private static let deviations = 5.61

    private var intervals: [UInt64] = []
    private var next = 0
    /// The longest silence that is nothing unusual, nanoseconds; 0 while too little is known.
    public private(set) var tolerated: UInt64 = 0

    public init() {}

    /// - Parameter interval: nanoseconds between two signs of life.
    public mutating func add(_ interval: UInt64) {
        if intervals.count < Self.window {
            intervals.append(interval)
        } else {
            intervals[next] = interval
            next = (next + 1) % Self.window
        }
        guard intervals.count >= Self.fewest else { return }
        let count = Double(intervals.count)
        let mean = intervals.reduce(0.0) { $0 + Double($1) } / count
        let variance = intervals.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / count
        let longest = Double(intervals.max() ?? 0)
        tolerated = UInt64(min(max(mean + Self.deviations * variance.squareRoot(), 1.5 * longest), 1e18))
    }
}
