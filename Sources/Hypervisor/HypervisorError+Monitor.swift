internal import QMP

extension HypervisorError {
    /// The same failure in this module's words.
    init(_ error: QMPError) {
        let code: Code =
            switch error.code {
            case .closed: .qemuGone
            case .timeout: .timeout
            default: .monitorFailed
            }
        self.init(code, error.message, cause: error)
    }
}

/// Calls the monitor and translates its errors.
func monitor<Value>(_ body: () throws(QMPError) -> Value) throws(HypervisorError) -> Value {
    do {
        return try body()
    } catch {
        throw HypervisorError(error)
    }
}
