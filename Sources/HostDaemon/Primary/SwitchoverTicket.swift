internal import HostAPI
internal import Synchronization

/// One request to move a machine, on its way between the client's thread and the session's.
final class SwitchoverTicket: Sendable {
    let request: SwitchoverRequest
    private let outcome = Mutex<Result<SwitchoverReport, HostDaemonError>?>(nil)

    init(_ request: SwitchoverRequest) { self.request = request }

    /// What became of it; nil while it is under way.
    var result: Result<SwitchoverReport, HostDaemonError>? { outcome.withLock { $0 } }

    func settle(_ result: Result<SwitchoverReport, HostDaemonError>) {
        outcome.withLock { $0 = $0 ?? result }
    }
}
