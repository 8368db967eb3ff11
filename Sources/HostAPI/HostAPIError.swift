/// What went wrong between a client and the host daemon, or inside the daemon on behalf of a client.
public struct HostAPIError: Error, Codable, Sendable, Equatable, CustomStringConvertible {
    /// A stable, machine-readable word such as `refused`, `not-found`, `busy` or `daemon-unreachable`.
    public var code: String
    /// What failed and what the operator can do about it.
    public var message: String

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { message }
}
