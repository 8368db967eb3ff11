/// Why a conversation with QEMU failed.
public struct QMPError: Error, Sendable, CustomStringConvertible {
    public enum Code: String, Sendable {
        /// The socket could not be opened: no such file, nobody listens, no permission.
        case connectFailed
        /// Connected, but QEMU did not greet: it serves one client per socket.
        case noGreeting
        /// QEMU closed the connection: it ended, or another party took the socket away.
        case closed
        /// No answer in time. The command may still take effect; a late reply is dropped.
        case timeout
        /// What came is not QMP: no JSON object, an unknown shape, or a line beyond the limit.
        case protocolViolation
        /// QEMU answered with an error; `errorClass` names its class.
        case commandFailed
        /// A system call failed.
        case systemCall
    }

    public var code: Code
    /// What failed and what the operator can do.
    public var message: String
    /// QEMU's error class (`GenericError`, `CommandNotFound`, ...) with `.commandFailed`.
    public var errorClass: String?
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, errorClass: String? = nil, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.errorClass = errorClass
        self.cause = cause
    }

    public var description: String { "\(code.rawValue): \(message)" }
}
