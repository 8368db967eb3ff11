/// What went wrong between this process and an NBD peer, and what can be done about it.
public struct NBDError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// The server's socket could not be made.
        case listenFailed
        /// The client could not connect.
        case connectFailed
        /// The peer closed the connection where it may.
        case closed
        /// The peer vanished in the middle of a message.
        case truncated
        /// What the peer sent is not NBD, or breaks its rules.
        case protocolViolation
        /// The peer speaks NBD and does not offer what was asked of it.
        case refused
        /// The server answered a request with an error; see `reason`.
        case requestFailed
        /// The peer did not answer in time.
        case timeout
        /// The system did not do what was asked of it.
        case systemCall
    }

    public let code: Code
    public let message: String
    /// The error number of a failed request.
    public let reason: NBDErrorCode?

    init(_ code: Code, _ message: String, reason: NBDErrorCode? = nil) {
        self.code = code
        self.message = message
        self.reason = reason
    }

    public var description: String { "\(code.rawValue): \(message)" }
}
