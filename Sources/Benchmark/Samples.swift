/// Samples of one quantity.
public struct Samples: Sendable {
    private var values: [Double] = []

    public init() {}

    public mutating func add(_ value: Double) { values.append(value) }

    public mutating func add(_ value: Double?) { if let value { values.append(value) } }

    /// The smallest value that at least this share, 0 to 1, of the samples does not exceed; nil without samples.
    public func quantile(_ share: Double) -> Double? {
        values.isEmpty ? nil : values.sorted()[min(values.count - 1, max(0, Int((share * Double(values.count)).rounded(.up)) - 1))]
    }

    /// The middle one in order; nil without samples.
    public var median: Double? { values.isEmpty ? nil : values.sorted()[values.count / 2] }
}
