/// Samples of one quantity.
public struct Samples: Sendable {
    private var values: [Double] = []

    public init() {}

    public mutating func add(_ value: Double) { values.append(value) }

    public mutating func add(_ value: Double?) { if let value { values.append(value) } }

    /// The middle one in order; nil without samples.
    public var median: Double? { values.isEmpty ? nil : values.sorted()[values.count / 2] }
}
