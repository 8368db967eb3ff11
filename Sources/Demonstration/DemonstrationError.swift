/// The one error of this module: what failed, and what the operator can do about it.
public struct DemonstrationError: Error, CustomStringConvertible, Sendable {
    /// The kind of failure, for callers that branch on it.
    public enum Code: String, Sendable {
        /// Another demo holds the laboratory's lock.
        case alreadyRunning
        /// Root, a program or a kernel feature is missing.
        case prerequisiteMissing
        /// A network namespace, link or address could not be made or removed.
        case network
        /// A process could not be started, or ended before it was ready.
        case process
        /// Something did not become ready in time.
        case timeout
        /// The guest's service answered with something that is not its protocol.
        case guestProtocol
        /// A file or folder of the demo could not be read or written.
        case file
    }

    public var code: Code
    public var message: String
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String {
        guard let cause else { return message }
        return "\(message) (cause: \(cause))"
    }
}
