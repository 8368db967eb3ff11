/// One thing that happened to a machine on this host: a line of `understudy events`.
public struct HostEvent: Codable, Sendable, Equatable {
    /// Counts up from 1 while the daemon lives.
    public var sequence: UInt64
    /// Seconds since 1970, for people; never used for a decision.
    public var time: Double
    public var machine: String
    /// A stable word such as `protected`, `backup-lost`, `takeover`.
    public var kind: String
    public var message: String
    public var fields: [String: String]

    public init(sequence: UInt64, time: Double, machine: String, kind: String, message: String, fields: [String: String] = [:]) {
        self.sequence = sequence
        self.time = time
        self.machine = machine
        self.kind = kind
        self.message = message
        self.fields = fields
    }
}
