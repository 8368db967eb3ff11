internal import UnderstudyCore

/// The table `autopilot` of the configuration: what is wanted of epochs whose length nobody fixed.
public struct AutopilotLimits: Codable, Sendable, Equatable {
    /// How long a commit may take when output comes after a quiet time, milliseconds.
    public var latencyMilliseconds = 10.0
    /// Percent of the time that a guest may stand still whose output waits again and again.
    public var overheadPercent = 10.0
    /// From cut to cut, milliseconds.
    public var shortestMilliseconds = 4.0
    public var longestMilliseconds = 100.0

    public init() {}

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case latencyMilliseconds = "latency-ms", overheadPercent = "overhead-percent", shortestMilliseconds = "shortest-ms",
            longestMilliseconds = "longest-ms"
    }

    static let keys = CodingKeys.allCases.map(\.rawValue)

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        latencyMilliseconds = try values.number(forKey: .latencyMilliseconds) ?? latencyMilliseconds
        overheadPercent = try values.number(forKey: .overheadPercent) ?? overheadPercent
        shortestMilliseconds = try values.number(forKey: .shortestMilliseconds) ?? shortestMilliseconds
        longestMilliseconds = try values.number(forKey: .longestMilliseconds) ?? longestMilliseconds
    }

    static let latencies = 1.0...10_000
    static let overheads = 0.1...90

    func validate(_ demand: (Bool, String) throws(HostDaemonError) -> Void) throws(HostDaemonError) {
        try demand(Self.latencies.contains(latencyMilliseconds), "`autopilot.latency-ms` must lie between 1 and 10000")
        try demand(Self.overheads.contains(overheadPercent), "`autopilot.overhead-percent` must lie between 0.1 and 90")
        try demand((1...10_000).contains(shortestMilliseconds), "`autopilot.shortest-ms` must lie between 1 and 10000")
        try demand(
            (shortestMilliseconds...10_000).contains(longestMilliseconds),
            "`autopilot.longest-ms` must lie between `autopilot.shortest-ms` and 10000")
    }

    var targets: EpochTargets {
        EpochTargets(
            latency: UInt64(latencyMilliseconds * 1e6), overhead: overheadPercent / 100, shortest: UInt64(shortestMilliseconds * 1e6),
            longest: UInt64(longestMilliseconds * 1e6))
    }
}
