internal import HostAPI
internal import Logging

/// Protection that begins by itself for a machine which runs here without: in the other direction right after a switchover, by the host that
/// gave the machine away, or once more after the machine has changed.
enum RenewedProtection {
    /// Why it begins.
    enum Occasion {
        case switchover
        case change
    }

    /// Takes the machine from the session that looks after it; what becomes of it is told by events and states.
    static func start(of session: PrimarySession, in registry: MachineRegistry, _ context: HostContext, _ occasion: Occasion) {
        let failed = { @Sendable (error: HostDaemonError) in
            let message = "the machine runs here WITHOUT a backup: \(error.message). Protect it again with `understudy protect`"
            switch occasion {
            case .switchover: context.events.record("protect-back-failed", machine: session.name, message, level: .error)
            case .change: context.events.record("protect-again-failed", machine: session.name, message, level: .error)
            }
        }
        let work = { @Sendable in
            do throws(HostDaemonError) {
                try session.retire()
                let protection = try PrimarySession(
                    request: session.request, qmpPath: session.qmpPath, ownProcess: session.ownProcess, context: context,
                    isRenewal: occasion == .change)
                protection.succeed(session)
                try registry.add(protection)
                try protection.start()
            } catch {
                failed(error)
            }
        }
        do throws(HostDaemonError) { try DedicatedThread(name: "protect-again", work) } catch { failed(error) }
    }
}
