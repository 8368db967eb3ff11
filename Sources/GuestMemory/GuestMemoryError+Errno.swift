import Glibc

extension GuestMemoryError {
    /// "what: text of errno", with the kinds that the number itself tells.
    static func failed(_ what: String, _ number: Int32, code: Code? = nil) -> GuestMemoryError {
        let kind: Code =
            switch number {
            case ESRCH: .processGone
            case EPERM, EACCES: .notPermitted
            default: .system
            }
        return GuestMemoryError(code: code ?? kind, message: "\(what): \(String(cString: strerror(number)))", errno: number)
    }
}
