internal import HostAPI
internal import Logging

/// Protection that begins by itself for a machine which runs here without: in the other direction right after a switchover, by the host that
/// gave the machine away, once more after the machine has changed, or by whatever host can be found (``Reprotection``).
enum RenewedProtection {
    /// Why it begins.
    enum Occasion: Sendable {
        case switchover
        case change
        case search
    }

    /// Takes the machine from the session that looks after it; what becomes of it is told by events and states.
    static func start(of session: PrimarySession, in registry: MachineRegistry, _ context: HostContext, _ occasion: Occasion) {
        let failed = { @Sendable (error: HostDaemonError) in
            let message = "the machine runs here WITHOUT a backup: \(error.message). Protect it again with `understudy protect`"
            switch occasion {
            case .switchover: context.events.record("protect-back-failed", machine: session.name, message, level: .error)
            case .change, .search: context.events.record("protect-again-failed", machine: session.name, message, level: .error)
            }
        }
        let work = { @Sendable in
            do throws(HostDaemonError) { try begin(of: session, backup: session.request.backup, in: registry, context, occasion) } catch {
                failed(error)
            }
        }
        do throws(HostDaemonError) { try DedicatedThread(name: "protect-again", work) } catch { failed(error) }
    }

    /// The same on the caller's thread; returns when the new session has begun.
    static func begin(
        of session: PrimarySession, backup: String, in registry: MachineRegistry, _ context: HostContext, _ occasion: Occasion
    ) throws(HostDaemonError) {
        var request = session.request
        // The operator named places on one host, and allowed to overwrite what was there at that time.
        request.overwriteDisks = nil
        if backup != request.backup { request.diskPaths = nil }
        request.backup = backup
        let protection = try PrimarySession(
            request: request, qmpPath: session.qmpPath, ownProcess: session.ownProcess, context: context, occasion: occasion)
        try session.retire()
        // Unprotected, ended or stopped meanwhile: then nobody wants it protected.
        guard session.isRetired else {
            throw HostDaemonError(.busy, "\(session.name) is not unprotected any more, or its guest ended")
        }
        protection.succeed(session)
        try registry.add(protection)
        try protection.start()
    }
}
