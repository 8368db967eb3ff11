import Testing
import UnderstudyCore

struct HoldTimeHistogramTests {
    @Test func `Percentiles are within one bucket of the truth`() {
        var histogram = HoldTimeHistogram()
        for value in 1...10_000 as ClosedRange<UInt64> { histogram.record(value * 1000) }
        for (quantile, truth) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (1.0, 10_000_000.0)] {
            let found = Double(histogram.quantile(quantile) ?? 0)
            #expect(found >= truth && found <= truth * 1.125)
        }
        #expect(histogram.maximum == 10_000_000 && histogram.count == 10_000)
    }

    @Test func `Small, huge and no values are handled`() {
        var histogram = HoldTimeHistogram()
        #expect(histogram.quantile(0.5) == nil)
        for value in [0, 7, 8, 15, 16, .max] as [UInt64] { histogram.record(value) }
        #expect(histogram.quantile(0) == 0)
        #expect(histogram.quantile(1) == .max)
        #expect(histogram.quantile(0.5) == 8)
    }
}
