/// What `understudy check` found, one line per requirement.
public struct CheckReport: Codable, Sendable, Equatable {
    public var host: String
    /// True when no requirement failed; warnings do not count.
    public var fit: Bool
    public var lines: [Line]

    public init(host: String, lines: [Line]) {
        self.host = host
        self.lines = lines
        fit = lines.allSatisfy { $0.state != .failed }
    }

    public enum State: String, Codable, Sendable {
        case ok
        /// Protection works, and something will or may go wrong.
        case warning
        /// Protection does not work.
        case failed
    }

    public struct Line: Codable, Sendable, Equatable {
        public var requirement: String
        public var state: State
        /// What was tried and seen.
        public var found: String
        /// What to change, when it is not `ok`.
        public var remedy: String?

        public init(_ requirement: String, _ state: State, _ found: String, remedy: String? = nil) {
            self.requirement = requirement
            self.state = state
            self.found = found
            self.remedy = state == .ok ? nil : remedy
        }
    }
}
