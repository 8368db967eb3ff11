internal import Glibc
internal import HostAPI
internal import Synchronization

/// Moving a machine to the other host on purpose.
extension Host {
    /// How long the other host may take to be protected by this one, in seconds.
    private static let protectionSeconds = 120.0

    func switchover(_ request: SwitchoverRequest, exchange: APIServer.Exchange) throws(HostDaemonError) -> SwitchoverReport {
        guard (0.1...3600).contains(request.timeoutSeconds) else {
            throw HostDaemonError(.refused, "the time-out must lie between 0.1 s and an hour")
        }
        guard let known = registry[request.name] else {
            throw HostDaemonError(.notFound, "no machine named \(request.name) is known to this host")
        }
        if request.back { (known as? PrimarySession)?.giveWay() }
        if request.back, let primary = known as? PrimarySession, primary.status.state == .unprotected {
            var again = ProtectRequest(
                name: request.name, qmp: nil, backup: primary.request.backup, intervalMilliseconds: primary.request.intervalMilliseconds)
            again.sharedDisks = primary.request.sharedDisks
            again.compression = primary.request.compression
            _ = try protect(again, exchange: exchange)
        }
        guard let session = registry[request.name] else {
            throw HostDaemonError(.notFound, "no machine named \(request.name) is known to this host")
        }
        var report = try follow(request.name, exchange) { () throws(HostDaemonError) in
            try session.switchover(request, goOn: { exchange.isOpen })
        }
        guard request.protectBack else { return report }
        try awaitProtection(by: report, exchange)
        report.protected = true
        return report
    }

    /// Shows what happens to a machine meanwhile.
    private func follow<Result>(
        _ name: String, _ exchange: APIServer.Exchange, _ body: () throws(HostDaemonError) -> Result
    ) throws(HostDaemonError) -> Result {
        let box = EventQueue()
        let (_, token) = context.events.follow { if $0.machine == name { box.add($0) } }
        defer {
            context.events.unfollow(token)
            for event in box.take() { exchange.send(.event(event)) }
        }
        return try body()
    }

    /// Waits until this host could take the machine over.
    private func awaitProtection(by report: SwitchoverReport, _ exchange: APIServer.Exchange) throws(HostDaemonError) {
        let begun = MonotonicClock.now
        let advice = "\(report.name) runs on \(report.to) and is not protected again"
        while true {
            let backup = registry[report.name] as? BackupSession
            switch backup?.status.state {
            case .standby: return
            case .failed?, .ended?:
                throw HostDaemonError(.standby, "\(advice): \(backup?.status.message ?? ""). Protect it there")
            default: break
            }
            guard exchange.isOpen else { throw HostDaemonError(.cancelled, "the client left; \(report.to) goes on protecting") }
            let limit = backup == nil ? 15 : Self.protectionSeconds
            guard MonotonicClock.now - begun < MonotonicClock.nanoseconds(seconds: limit) else {
                throw HostDaemonError(.timeout, "\(advice) after \(Int(limit)) s: see `understudy events` there")
            }
            usleep(10_000)
        }
    }
}
