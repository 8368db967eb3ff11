internal import HostAPI

/// The last samples of a measured quantity, in a buffer of fixed size.
struct SampleWindow {
    private var samples: [Double]
    private var next = 0
    private var filled = 0

    init(capacity: Int = 4096) { samples = Array(repeating: 0, count: capacity) }

    mutating func add(_ sample: Double) {
        samples[next] = sample
        next = (next + 1) % samples.count
        filled = min(filled + 1, samples.count)
    }

    /// Quantiles of what the window holds; zeros when it is empty.
    var quantiles: Quantiles {
        let sorted = samples[..<filled].sorted()
        guard !sorted.isEmpty else { return Quantiles(p50: 0, p99: 0, max: 0) }
        func at(_ share: Double) -> Double { sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))] }
        return Quantiles(p50: at(0.5), p99: at(0.99), max: sorted[sorted.count - 1])
    }
}
