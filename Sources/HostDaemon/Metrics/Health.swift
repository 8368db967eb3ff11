internal import HostAPI

/// What `/livez` and `/readyz` say: each question with its answer.
struct Health {
    struct Answer: Equatable {
        var question: String
        /// Why not; nil when it is well.
        var problem: String?
    }

    var answers: [Answer]

    var isWell: Bool { answers.allSatisfy { $0.problem == nil } }

    /// One line for each question, as Kubernetes's API servers write them.
    var text: String {
        answers.map { answer in answer.problem.map { "[-]\(answer.question) \($0)\n" } ?? "[+]\(answer.question) ok\n" }.joined()
    }
}

extension Host {
    /// A session that has not gone round for so long is stuck, in nanoseconds: one step may take as long as QEMU may for a cut and its end.
    private var stuck: UInt64 { 30_000_000_000 + 2 * context.detectionNanoseconds }

    /// Whether this process does its work; when not, only a restart helps.
    var liveness: Health {
        Health(
            answers: registry.all.map { session in
                let age = session.standstill
                return .init(
                    question: "session/\(session.name)", problem: age > stuck ? "has stood still for \(age / 1_000_000_000) s" : nil)
            } + [.init(question: "daemon", problem: nil)])
    }

    /// Whether this host could protect a machine, or take one over, now.
    var readiness: Health {
        let arbiter: String? =
            switch context.arbiterWatch.condition {
            case .answers: nil
            case .unknown: "was not asked yet"
            case .silent(let reason): reason
            }
        let certificate = context.certificates.check()
        return Health(
            answers: [
                .init(question: "arbiter", problem: arbiter),
                .init(question: "certificates", problem: certificate.state == .failed ? certificate.found : nil),
            ] + liveness.answers)
    }

    /// True while every session goes round: systemd's watchdog is fed only then.
    public var isAlive: Bool { liveness.isWell }

    /// The numbers of now.
    var metrics: HostMetrics {
        let reachable: Bool? =
            switch context.arbiterWatch.condition {
            case .unknown: nil
            case .answers: true
            case .silent: false
            }
        let counts = context.events.counts
        return HostMetrics(
            host: context.configuration.name, version: Self.version, startTime: startTime, machines: registry.all.map(\.metrics),
            arbiterReachable: reachable, certificates: context.certificates.status(), events: counts.kinds, takeovers: counts.takeovers)
    }
}
