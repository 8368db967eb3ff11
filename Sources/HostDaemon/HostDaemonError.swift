/// A failure of the host daemon.
public struct HostDaemonError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        case configuration, refused, peer, guest, standby, arbiter, network, cancelled, busy, timeout, notFound = "not-found", elsewhere,
            system
    }

    public var code: Code
    /// What failed and what the operator can do about it.
    public var message: String
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// The message, which quotes what the operator needs of the cause.
    public var description: String { message }
}
