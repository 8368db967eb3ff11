import Glibc

/// What the kernel's calls need around them.
enum LabSystem {
    /// The text of an errno value.
    static func message(_ code: Int32) -> String { String(cString: strerror(code)) }

    /// An error that names the failed call's errno; read errno before anything else can change it.
    static func failure(_ code: DemonstrationError.Code, _ what: String, errno value: Int32 = errno) -> DemonstrationError {
        DemonstrationError(code, "\(what): \(message(value))")
    }

    /// Whether a program is in PATH.
    static func hasProgram(_ name: String) -> Bool {
        if name.contains("/") { return access(name, X_OK) == 0 }
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin:/sbin:/bin"
        return path.split(separator: ":").contains { access("\($0)/\(name)", X_OK) == 0 }
    }
}
