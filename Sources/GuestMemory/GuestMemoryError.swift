/// What can fail between the daemon and the guest's memory.
public struct GuestMemoryError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure, for programs.
    public enum Code: String, Sendable, CaseIterable {
        /// The process ended.
        case processGone
        /// The kernel lacks what tracking needs (Linux 6.7 or later).
        case kernelTooOld
        /// Privilege is missing (CAP_SYS_PTRACE, or another tracer is attached).
        case notPermitted
        /// The userfaultfd call could not be run inside the process.
        case injectionFailed
        /// The memory is registered with a userfaultfd that is not ours.
        case alreadyTracked
        /// A block is not what its description says: unmapped, misaligned, not writable by tracking.
        case invalidBlock
        /// The caller gave something unusable (a run outside its block, a list that is too small).
        case invalidArgument
        /// A page could not be read.
        case unreadablePage
        /// Another system call failed.
        case system
    }

    public var code: Code
    /// What failed and what the operator can do.
    public var message: String
    /// `errno` of the failed call, 0 when there is none.
    public var errno: Int32
    /// The error behind this one.
    public var cause: (any Error)?

    public init(code: Code, message: String, errno: Int32 = 0, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.errno = errno
        self.cause = cause
    }

    public var description: String { "\(code.rawValue): \(message)" }
}
