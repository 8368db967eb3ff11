/// Median and 99th percentile of a series, by nearest rank.
public struct Quantiles: Hashable, Sendable {
    public var p50: Double
    public var p99: Double

    public init(p50: Double, p99: Double) {
        self.p50 = p50
        self.p99 = p99
    }

    /// nil when there is no sample.
    public init?(of samples: [Double]) {
        guard !samples.isEmpty else { return nil }
        let sorted = samples.sorted()
        p50 = Quantiles.nearestRank(0.50, in: sorted)
        p99 = Quantiles.nearestRank(0.99, in: sorted)
    }

    private static func nearestRank(_ fraction: Double, in sorted: [Double]) -> Double {
        let rank = Int((fraction * Double(sorted.count)).rounded(.up))
        return sorted[min(max(rank, 1), sorted.count) - 1]
    }
}
