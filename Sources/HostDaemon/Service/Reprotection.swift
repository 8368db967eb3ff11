internal import Glibc
internal import HostAPI
internal import Links
internal import Logging
internal import Synchronization
internal import UnderstudyCore

/// Looks for a backup for every machine that runs here without one, and protects it again in the background.
///
/// One thread looks at the machines' states, so that every way into being unprotected is covered; `ReprotectionPlan` says when an attempt is due.
/// A host is asked for a connection first: as long as none can be had, the machine and the session that looks after it are left alone.
final class Reprotection: Sendable {
    private struct Search {
        var plan = ReprotectionPlan()
        var backup = ""
        var reason: String?
        var told: String?
    }

    private let context: HostContext
    private let registry: MachineRegistry
    private let searches = Mutex<[String: Search]>([:])
    private static let period: UInt32 = 100_000

    init(context: HostContext, registry: MachineRegistry) {
        self.context = context
        self.registry = registry
    }

    /// Does nothing when the configuration leaves protection to the operator.
    func start() throws(HostDaemonError) {
        guard context.configuration.reprotect == .automatic else { return }
        try DedicatedThread(name: "reprotect") { [self] in
            while true {
                look()
                usleep(Self.period)
            }
        }
    }

    private func look() {
        let sessions = registry.all.compactMap { $0 as? PrimarySession }
        searches.withLock { searches in
            let names = Set(sessions.map(\.name))
            searches = searches.filter { names.contains($0.key) }
        }
        for session in sessions where !session.isOver { look(at: session) }
    }

    private func look(at session: PrimarySession) {
        let candidates = context.configuration.backupCandidates(before: session.request.backup)
        let now = MonotonicClock.now
        let sight = Self.sight(session.status.state)
        let (attempt, search) = searches.withLock { searches in
            var search = searches[session.name] ?? Search()
            let attempt = search.plan.look(sight, hosts: candidates.count, now: now)
            if sight == .alone, attempt == nil, !candidates.isEmpty {
                search.backup = candidates[search.plan.attempts % candidates.count]
                // What an attempt failed of is what its session says.
                if session.isAutomatic { search.reason = session.shared.withLock { $0.error?.message } ?? search.reason }
            }
            if sight == .protected { (search.reason, search.told) = (nil, nil) }
            searches[session.name] = search
            return (attempt, search)
        }
        if let attempt { return begin(session, candidates[attempt % candidates.count], attempt) }
        if sight == .alone, let due = search.plan.dueAt { show(search, of: session, seconds: Double(due - min(now, due)) / 1e9) }
    }

    private static func sight(_ state: MachineStatus.State) -> ReprotectionPlan.Sight {
        switch state {
        case .unprotected: .alone
        case .protected: .protected
        case .starting, .synchronising: .underWay
        case .deciding, .standby, .takingOver, .lost, .ended, .failed: .other
        }
    }

    /// Every status says what is waited for; an event says it once for each reason.
    private func show(_ search: Search, of session: PrimarySession, seconds: Double) {
        session.shared.withLock { shared in
            guard shared.status.state == .unprotected else { return }
            shared.status.reprotection = ReprotectionStatus(
                backup: search.backup, attempts: search.plan.attempts, reason: search.reason, nextAttemptSeconds: seconds)
        }
        guard let reason = search.reason, reason != search.told else { return }
        searches.withLock { $0[session.name]?.told = reason }
        let wait = String(Int(seconds.rounded(.up)))
        session.report(
            "reprotect-waiting",
            "runs here WITHOUT a backup: \(reason). Attempt \(search.plan.attempts + 1), with \(search.backup), follows in \(wait) s",
            level: .warning, fields: ["backup": search.backup, "next_s": wait])
    }

    private func begin(_ session: PrimarySession, _ backup: String, _ attempt: Int) {
        let failed = { @Sendable [self] (error: HostDaemonError) in searches.withLock { $0[session.name]?.reason = error.message } }
        let work = { @Sendable [self] in
            do throws(HostDaemonError) {
                try reach(backup)
                session.report("reprotecting", "protecting it again by \(backup), attempt \(attempt + 1)", fields: ["backup": backup])
                try RenewedProtection.begin(of: session, backup: backup, in: registry, context, .search)
            } catch {
                failed(error)
            }
            searches.withLock { $0[session.name]?.plan.ended() }
        }
        do throws(HostDaemonError) { try DedicatedThread(name: "reprotect-one", work) } catch {
            failed(error)
            searches.withLock { $0[session.name]?.plan.ended() }
        }
    }

    /// Whether a daemon answers there that accepts this host's certificate.
    private func reach(_ backup: String) throws(HostDaemonError) {
        let peer = try context.peer(named: backup)
        guard let address = HostAndPort(peer.control) else { preconditionFailure("the configuration was validated") }
        do throws(LinkError) {
            try ControlChannel.connect(
                host: address.host, port: UInt16(address.port), tls: context.tls, peerName: peer.name, timeout: .seconds(3),
                handlers: ControlChannel.Handlers(frame: { _ in }, closed: { _ in })
            ).close()
        } catch {
            throw HostDaemonError(.peer, "\(backup) cannot be reached at \(peer.control): \(error.message)", cause: error)
        }
    }
}

extension DaemonConfiguration {
    /// The hosts that may become a machine's backup again, best first: the one it had, where the list does not rule that out.
    func backupCandidates(before former: String) -> [String] {
        guard !backups.isEmpty else { return peers.contains { $0.name == former } ? [former] : [] }
        return (backups.contains(former) ? [former] : []) + backups.filter { $0 != former }
    }
}
