/// Why an operation on the guest's network path failed and what the operator can do about it.
public struct OutputRelayError: Error, CustomStringConvertible, Sendable {
    /// What went wrong, for programs.
    public enum Code: Sendable, Equatable {
        /// There is no interface of that name in this network namespace.
        case noSuchInterface
        /// An interface of that name exists already.
        case interfaceExists
        /// The interface is not a tap (macvtap and others cannot be gated).
        case notATap
        /// The tap is in no bridge, or the bridge does not exist.
        case notInBridge
        /// An XDP program runs before every classifier and could let frames pass.
        case xdpAttached
        /// A living daemon holds this tap's gate.
        case gateInUse
        /// A dead daemon left its gate closed: adopt or remove it.
        case leftoverGate
        /// The gate is no longer the first classifier of the guest's tap: somebody changed it.
        case gateDisturbed
        /// The caller lacks CAP_NET_ADMIN, CAP_BPF or the device node.
        case permission
        /// The kernel refused an operation.
        case kernel
        /// The call does not fit the relay's state or the order of epochs.
        case illegalTransition
    }

    /// What went wrong, for programs.
    public let code: Code
    /// What failed and what the operator can do.
    public let message: String
    /// The error below this one.
    public let cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String {
        guard let cause else { return message }
        return "\(message): \(cause)"
    }
}
