/// Why an operation on a QEMU process failed.
public struct HypervisorError: Error, Sendable, CustomStringConvertible {
    /// A reason, open so that every topic of this module names its own.
    public struct Code: RawRepresentable, Hashable, Sendable {
        public let rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }
    }

    public var code: Code
    /// What failed and what the operator can do.
    public var message: String
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String { "\(code.rawValue): \(message)" }
}

extension HypervisorError.Code {
    /// QEMU ended or closed its monitor.
    public static let qemuGone = Self(rawValue: "qemuGone")
    /// QEMU did not answer in time.
    public static let timeout = Self(rawValue: "timeout")
    /// The monitor failed in another way; `cause` is the `QMPError`.
    public static let monitorFailed = Self(rawValue: "monitorFailed")
    /// A system call failed.
    public static let systemCall = Self(rawValue: "systemCall")
}
