internal import Glibc
internal import HostAPI
internal import Synchronization

/// What clients ask of the host.
extension Host {
    func perform(_ request: HostRequest, exchange: APIServer.Exchange) throws(HostDaemonError) -> HostResult {
        switch request {
        case .status:
            return .status(
                HostStatus(
                    host: context.configuration.name, version: Self.version, machines: registry.all.map(\.status),
                    certificates: context.certificates.status()))
        case .protect(let request): return .machine(try protect(request, exchange: exchange))
        case .unprotect(let name): return .machine(try unprotect(name))
        case .switchover(let request): return .switchover(try switchover(request, exchange: exchange))
        case .set(let request): return .machine(try set(request))
        case .events(let follow): return events(follow: follow, exchange: exchange)
        case .wait(let name, let state, let seconds): return .machine(try wait(name, state, seconds, exchange: exchange))
        case .check(let request): return .check(HostCheck(context: context, keys: keys).run(request))
        case .definitions: return .definitions(try machines.all())
        case .startMachine(let request): return .definition(try machines.start(request))
        case .stopMachine(let request):
            try machines.stop(request)
            return .done
        case .removeDefinition(let name):
            try machines.remove(name)
            return .done
        }
    }

    func protect(_ request: ProtectRequest, exchange: APIServer.Exchange) throws(HostDaemonError) -> MachineStatus {
        try follow(try prepare(request), exchange: exchange)
    }

    /// Examines the request and registers its session, which is not started yet.
    func prepare(_ request: ProtectRequest) throws(HostDaemonError) -> PrimarySession {
        guard MachineName.isValid(request.name) else {
            throw HostDaemonError(.refused, "\"\(request.name)\" cannot be a machine's name: use 1 to 64 letters, digits, `-`, `_` and `.`")
        }
        guard request.intervalMilliseconds == 0 || (5...10_000).contains(request.intervalMilliseconds) else {
            throw HostDaemonError(.refused, "the interval must lie between 5 ms and 10 s, or be 0 for one that finds itself")
        }
        guard request.latencyTargetMilliseconds.map(AutopilotLimits.latencies.contains) ?? true,
            request.overheadTargetPercent.map(AutopilotLimits.overheads.contains) ?? true
        else {
            throw HostDaemonError(.refused, "the target of latency must lie between 1 ms and 10 s, that of overhead between 0.1 and 90 %")
        }
        _ = try context.peer(named: request.backup)
        _ = try CertificateWatch.demandUsable(context.configuration)
        var request = request
        if request.sharedDisks == nil { request.sharedDisks = try sharesDisks(request.name) }
        let session = try makeSession(request)
        try registry.add(session)
        return session
    }

    /// As the machine was protected before, else as its definition says.
    private func sharesDisks(_ name: String) throws(HostDaemonError) -> Bool {
        if let earlier = (registry[name] as? PrimarySession)?.request.sharedDisks { return earlier }
        guard try machines.names().contains(name) else { return false }
        return try machines.definition(name).shared
    }

    /// A machine that runs here already under Understudy is taken from its session; another one needs its QMP socket.
    private func makeSession(_ request: ProtectRequest) throws(HostDaemonError) -> PrimarySession {
        (registry[request.name] as? PrimarySession)?.giveWay()
        if let primary = registry[request.name] as? PrimarySession, primary.isReplaceable {
            let path = request.qmp ?? primary.qmpPath
            try primary.retire()
            let session = try PrimarySession(request: request, qmpPath: path, ownProcess: primary.ownProcess, context: context)
            session.succeed(primary)
            return session
        }
        if let present = registry[request.name], !present.isOver { throw MachineRegistry.busy(request.name) }
        let started = try MachineProcess.find(request.name, in: context.configuration.runtimeFolder)
        guard let path = request.qmp ?? started?.qmp else {
            throw HostDaemonError(.refused, "no machine named \(request.name) is known here: name its QMP socket with --qmp")
        }
        return try PrimarySession(request: request, qmpPath: path, ownProcess: nil, context: context)
    }

    /// Starts the session and shows events and progress until the machine is protected or cannot be; a client that leaves cancels.
    private func follow(_ session: PrimarySession, exchange: APIServer.Exchange) throws(HostDaemonError) -> MachineStatus {
        let box = EventQueue()
        let (_, token) = context.events.follow { if $0.machine == session.name { box.add($0) } }
        defer { context.events.unfollow(token) }
        try session.start()
        var shown: SynchronisationProgress?
        while true {
            let status = session.status
            for event in box.take() { exchange.send(.event(event)) }
            // First of all: a client that left was not told of a protection that came about meanwhile, and does not expect it.
            if !exchange.isOpen {
                session.cancel()
                throw HostDaemonError(.cancelled, "the client left before \(session.name) was protected")
            }
            if status.state == .protected { return status }
            if session.isOver || status.state == .unprotected {
                throw session.shared.withLock { $0.error } ?? HostDaemonError(.refused, status.message)
            }
            if let progress = status.synchronisation, progress != shown {
                shown = progress
                exchange.send(.progress(progress))
            }
            usleep(20_000)
        }
    }

    private func set(_ request: SetRequest) throws(HostDaemonError) -> MachineStatus {
        guard let session = registry[request.name] else {
            throw HostDaemonError(.notFound, "no machine named \(request.name) is known to this host")
        }
        guard let primary = session as? PrimarySession else {
            throw HostDaemonError(.refused, "\(request.name) does not run here: ask the host that runs it")
        }
        try primary.set(request.compression)
        return primary.status
    }

    private func unprotect(_ name: String) throws(HostDaemonError) -> MachineStatus {
        let session = try unprotectWhoeverHasIt(name)
        registry.remove(session)
        try machines.keepClaim(name)
        return session.status
    }

    /// A session that is just handing the machine to another one is waited for.
    private func unprotectWhoeverHasIt(_ name: String) throws(HostDaemonError) -> any MachineSession {
        let end = MonotonicClock.now + 10_000_000_000
        while true {
            guard let session = registry[name] else { throw HostDaemonError(.notFound, "no machine named \(name) is known to this host") }
            let hasHeir = (session as? PrimarySession)?.shared.withLock { $0.retireAsked } == true
            if session.isOver, !hasHeir || MonotonicClock.now >= end { return session }
            do throws(HostDaemonError) {
                if !session.isOver {
                    try session.unprotect()
                    return session
                }
            } catch {
                guard error.code == .busy, MonotonicClock.now < end else { throw error }
            }
            usleep(20_000)
        }
    }

    private func wait(
        _ name: String, _ word: String, _ seconds: Double, exchange: APIServer.Exchange
    ) throws(HostDaemonError) -> MachineStatus {
        guard let state = MachineStatus.State(rawValue: word) else { throw HostDaemonError(.refused, "\(word) is no state of a machine") }
        if let status = registry.wait(name: name, state: state, seconds: seconds, goOn: { exchange.isOpen }) { return status }
        guard let status = registry[name]?.status else {
            throw HostDaemonError(.notFound, "no machine named \(name) is known to this host")
        }
        throw HostDaemonError(.timeout, "\(name) is \(status.state.rawValue) and not \(word) after \(seconds) s: \(status.message)")
    }

    private func events(follow: Bool, exchange: APIServer.Exchange) -> HostResult {
        guard follow else {
            for event in context.events.past { exchange.send(.event(event)) }
            return .done
        }
        // The follower never blocks the one who records: it fills a queue, this thread writes.
        let box = EventQueue()
        let (past, token) = context.events.follow { box.add($0) }
        defer { context.events.unfollow(token) }
        for event in past where !exchange.send(.event(event)) { return .done }
        while exchange.isOpen {
            for event in box.take() where !exchange.send(.event(event)) { return .done }
            usleep(10_000)
        }
        return .done
    }
}

/// Events on their way to one client; a client that does not read loses the oldest.
final class EventQueue: Sendable {
    private let events = Mutex<[HostEvent]>([])

    func add(_ event: HostEvent) {
        events.withLock { events in
            events.append(event)
            if events.count > 10_000 { events.removeFirst() }
        }
    }

    func take() -> [HostEvent] {
        events.withLock { events in
            let taken = events
            events.removeAll()
            return taken
        }
    }
}
