/// Counts of a quantity by size since the beginning, as Prometheus wants them: recording allocates nothing.
struct BucketHistogram: Sendable {
    /// The buckets' upper bounds, ascending; what is larger goes to a last one.
    let bounds: [Double]
    /// One more than there are bounds.
    private(set) var counts: [UInt64]
    private(set) var sum = 0.0

    init(bounds: [Double]) {
        self.bounds = bounds
        counts = Array(repeating: 0, count: bounds.count + 1)
    }

    var count: UInt64 { counts.reduce(0, +) }

    mutating func add(_ value: Double) {
        counts[bounds.firstIndex { value <= $0 } ?? bounds.count] += 1
        sum += value
    }
}

/// What is known of all checkpoints of one protection.
struct CheckpointHistograms: Sendable {
    /// Seconds.
    var pause = BucketHistogram(bounds: [0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1])
    var epoch = BucketHistogram(bounds: [0.005, 0.01, 0.02, 0.026, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 5, 10])
    var commit = BucketHistogram(bounds: [0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5])
    /// Pages of 4 KiB.
    var dirtyPages = BucketHistogram(bounds: [0, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000])
}
