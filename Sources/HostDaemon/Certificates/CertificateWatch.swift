internal import Foundation
internal import HostAPI
internal import HostCertificates
internal import Logging
internal import Synchronization

/// Looks after the certificates by which this host is known: says in time when they end, takes renewed ones into use, refuses what is over.
final class CertificateWatch: Sendable {
    private struct State {
        var identity: HostIdentity?
        /// Why the files cannot be used; nil while they can.
        var problem: String?
        /// What was last said, and in which day's remainder, so that it is said once a day.
        var said: (validity: CertificateSummary.Validity, days: Int64) = (.valid, .max)
    }

    private let configuration: DaemonConfiguration
    private let events: EventLog
    private let state = Mutex(State())
    /// Seconds between two looks at the files.
    private static let interval: UInt32 = 60

    init(configuration: DaemonConfiguration, events: EventLog) {
        self.configuration = configuration
        self.events = events
    }

    static var now: Int64 { Int64(Date().timeIntervalSince1970) }

    /// Reads the files and demands that they can be used now.
    ///
    /// - Throws: `.configuration`: which file, what is wrong, what to do.
    static func demandUsable(_ configuration: DaemonConfiguration, now: Int64 = CertificateWatch.now) throws(HostDaemonError)
        -> HostIdentity
    {
        let identity = try read(configuration)
        switch identity.validity(at: now) {
        case .valid, .expiresSoon: return identity
        case .expired, .notYetValid: throw HostDaemonError(.configuration, sentence(identity, now: now))
        }
    }

    /// Looks at once and then every minute.
    ///
    /// - Parameter renewed: called when other certificates lie in the files than before.
    func start(renewed: @escaping @Sendable () -> Void) throws(HostDaemonError) {
        look(now: Self.now, renewed: {})
        try DedicatedThread(name: "certificates") { [self] in
            while true {
                sleep(Self.interval)
                look(now: Self.now, renewed: renewed)
            }
        }
    }

    /// Reads the files and tells what changed.
    func look(now: Int64, renewed: () -> Void) {
        let identity: HostIdentity
        do throws(HostDaemonError) {
            identity = try Self.read(configuration)
        } catch {
            let isNew = state.withLock { state in
                defer { state.problem = error.message }
                return state.problem != error.message
            }
            if isNew { events.record("certificate-unusable", machine: "-", error.message, level: .error) }
            return
        }
        let before = state.withLock { state in
            defer {
                state.identity = identity
                state.problem = nil
            }
            return state.identity
        }
        if let before, before != identity {
            renewed()
            events.record(
                "certificate-renewed", machine: "-", "other certificates are in use now: \(Self.sentence(identity, now: now))",
                fields: ["days_left": "\(identity.first.summary.daysLeft(at: now))"])
        }
        warn(identity, now: now)
    }

    private func warn(_ identity: HostIdentity, now: Int64) {
        let (validity, days) = (identity.validity(at: now), identity.first.summary.daysLeft(at: now))
        let isDue = state.withLock { state in
            defer { state.said = (validity, days) }
            return state.said != (validity, days)
        }
        guard isDue, validity != .valid else { return }
        let (text, fields) = (Self.sentence(identity, now: now), ["days_left": "\(days)", "file": identity.first.file])
        if validity == .expiresSoon {
            events.record("certificate-expires", machine: "-", text, level: .warning, fields: fields)
        } else {
            events.record("certificate-expired", machine: "-", text, level: .critical, fields: fields)
        }
    }

    /// What is the case, in one sentence for the operator.
    private static func sentence(_ identity: HostIdentity, now: Int64) -> String {
        let (summary, file) = identity.first
        let end = Date(timeIntervalSince1970: Double(summary.notAfter)).formatted(Date.ISO8601FormatStyle())
        let remedy =
            file == identity.authorityFile
            ? "make a new authority (`understudy pki init`) and issue every host anew"
            : "issue a new one (`understudy pki issue`) and put it in its place, no restart is needed"
        return switch identity.validity(at: now) {
        case .valid: "\(file) (\(summary.subject)) is good until \(end)"
        case .expiresSoon: "\(file) (\(summary.subject)) expires in \(summary.daysLeft(at: now)) days, at \(end): \(remedy)"
        case .expired: "\(file) (\(summary.subject)) expired at \(end), no peer believes it any more: \(remedy)"
        case .notYetValid:
            "\(identity.certificateFile) or \(identity.authorityFile) is not good yet: is this host's clock right? It says \(Date(timeIntervalSince1970: Double(now)).formatted(Date.ISO8601FormatStyle()))"
        }
    }

    private static func read(_ configuration: DaemonConfiguration) throws(HostDaemonError) -> HostIdentity {
        do throws(CertificateError) {
            return try HostIdentity.read(
                host: configuration.name, authorityFile: configuration.tls.authority, certificateFile: configuration.tls.certificate,
                keyFile: configuration.tls.key)
        } catch {
            throw HostDaemonError(.configuration, error.message, cause: error)
        }
    }

    /// For `understudy status`; empty when the files cannot be used.
    func status(now: Int64 = CertificateWatch.now) -> [CertificateStatus] {
        guard let identity = state.withLock({ $0.identity }) else { return [] }
        let parts = [
            ("certificate", identity.certificateFile, identity.certificate), ("authority", identity.authorityFile, identity.authority),
        ]
        return parts.map { role, file, summary in
            CertificateStatus(
                role: role, file: file, subject: summary.subject, notAfter: summary.notAfter, daysLeft: summary.daysLeft(at: now),
                state: summary.validity(at: now).rawValue)
        }
    }

    /// A line of `understudy check`.
    func check(now: Int64 = CertificateWatch.now) -> CheckReport.Line {
        let requirement = "certificates"
        do throws(HostDaemonError) {
            let identity = try Self.read(configuration)
            let text = Self.sentence(identity, now: now)
            return switch identity.validity(at: now) {
            case .valid: .init(requirement, .ok, text)
            case .expiresSoon: .init(requirement, .warning, text, remedy: "renew it before then")
            case .expired, .notYetValid: .init(requirement, .failed, text, remedy: "renew it, or correct the clock")
            }
        } catch {
            return .init(requirement, .failed, error.message, remedy: "make them with `understudy pki issue \(configuration.name)`")
        }
    }
}
