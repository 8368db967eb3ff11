/// What a benchmark measured: the document behind `understudy bench --json`.
public struct BenchmarkReport: Codable, Sendable, Equatable {
    /// A promise of `SPECIFICATION.md` and what became of it.
    public struct Target: Codable, Sendable, Equatable {
        /// The quantity with its unit at the end, such as `outage_ms`.
        public var name: String
        /// The median of this run; nil when it could not be measured.
        public var measured: Double?
        /// The largest value that keeps the promise.
        public var target: Double
        public var holds: Bool

        public init(name: String, measured: Double?, target: Double) {
            self.name = name
            self.measured = measured
            self.target = target
            holds = measured.map { $0 <= target } ?? false
        }

        public func encode(to encoder: any Encoder) throws {
            var values = encoder.container(keyedBy: CodingKeys.self)
            try values.encode(name, forKey: .name)
            // A value that is missing must be seen: null, not left out.
            try values.encode(measured, forKey: .measured)
            try values.encode(target, forKey: .target)
            try values.encode(holds, forKey: .holds)
        }
    }

    /// A quantity without a promise.
    public struct Figure: Codable, Sendable, Equatable {
        public var name: String
        public var measured: Double

        public init(name: String, measured: Double) {
            self.name = name
            self.measured = measured
        }
    }

    public var qemu: String
    public var kernel: String
    public var processors: Int
    /// Processes that waited for a processor when the benchmark began (load average of the last minute): other work spoils figures.
    public var loadBefore: Double
    public var quick: Bool
    public var targets: [Target] = []
    public var figures: [Figure] = []

    public init(qemu: String, kernel: String, processors: Int, loadBefore: Double, quick: Bool) {
        self.qemu = qemu
        self.kernel = kernel
        self.processors = processors
        self.loadBefore = loadBefore
        self.quick = quick
    }

    /// True when every promise held.
    public var holds: Bool { targets.allSatisfy(\.holds) }

    mutating func promise(_ name: String, _ measured: Double?, atMost target: Double) {
        targets.append(Target(name: name, measured: measured.map(Self.rounded), target: Self.rounded(target)))
    }

    mutating func tell(_ name: String, _ measured: Double?) {
        if let measured { figures.append(Figure(name: name, measured: Self.rounded(measured))) }
    }

    /// Three decimals: more would be noise.
    private static func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}
