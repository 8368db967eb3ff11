/// One of the certificates by which this host proves its name, in `understudy status --json`.
public struct CertificateStatus: Codable, Sendable, Equatable {
    /// `certificate` or `authority`.
    public var role: String
    public var file: String
    public var subject: String
    /// Seconds since 1970.
    public var notAfter: Int64
    /// Negative when its time is over.
    public var daysLeft: Int64
    /// `valid`, `expires-soon` (30 days or less), `expired` or `not-yet-valid`.
    public var state: String

    public init(role: String, file: String, subject: String, notAfter: Int64, daysLeft: Int64, state: String) {
        self.role = role
        self.file = file
        self.subject = subject
        self.notAfter = notAfter
        self.daysLeft = daysLeft
        self.state = state
    }
}
