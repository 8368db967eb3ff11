/// How long frames were held, in buckets of 12.5 % width: cheap enough to record every frame, exact enough for percentiles.
public struct HoldTimeHistogram: Sendable, Equatable {
    /// Eight buckets per power of two of nanoseconds; fixed size, so that recording never allocates.
    private var buckets: [UInt64]
    /// Frames recorded.
    public private(set) var count: UInt64 = 0
    /// The longest hold time recorded, in nanoseconds.
    public private(set) var maximum: UInt64 = 0

    public init() {
        buckets = [UInt64](repeating: 0, count: Self.index(of: .max) + 1)
    }

    /// Records one frame held for `nanoseconds`.
    public mutating func record(_ nanoseconds: UInt64) {
        buckets[Self.index(of: nanoseconds)] += 1
        count += 1
        maximum = max(maximum, nanoseconds)
    }

    /// The hold time in nanoseconds below or at which the fraction `quantile` (0...1) of the frames lies; nil when nothing was recorded.
    public func quantile(_ quantile: Double) -> UInt64? {
        guard count > 0 else { return nil }
        let rank = max(1, UInt64((min(max(quantile, 0), 1) * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, bucket) in buckets.enumerated() {
            seen += bucket
            if seen >= rank { return min(maximum, Self.upperBound(of: index)) }
        }
        return maximum
    }

    private static func index(of value: UInt64) -> Int {
        guard value >= 8 else { return Int(value) }
        let exponent = 63 - value.leadingZeroBitCount
        return (exponent - 2) * 8 + Int((value >> UInt64(exponent - 3)) & 7)
    }

    private static func upperBound(of index: Int) -> UInt64 {
        guard index >= 8 else { return UInt64(index) }
        let shift = UInt64(index / 8 - 1)
        return ((UInt64(index % 8) + 8) << shift) + ((1 << shift) - 1)
    }
}
