import Glibc

/// A system call's error number, as the cause of an `OutputRelayError`.
struct SystemCallError: Error, CustomStringConvertible, Equatable {
    let call: String
    let number: Int32

    var description: String { "\(call): \(String(cString: strerror(number))) (errno \(number))" }
}

extension OutputRelayError {
    /// The error of a kernel operation that failed with `number`: `permission` where privilege is missing.
    static func kernel(_ what: String, _ call: String, _ number: Int32) -> OutputRelayError {
        let cause = SystemCallError(call: call, number: number)
        if number == EPERM || number == EACCES {
            return OutputRelayError(.permission, "\(what) needs CAP_NET_ADMIN and CAP_BPF: run the daemon as root", cause: cause)
        }
        return OutputRelayError(.kernel, "\(what) failed", cause: cause)
    }

    /// The system call's error number below this error; nil when there is none.
    var systemCallNumber: Int32? { (cause as? SystemCallError)?.number }
}
