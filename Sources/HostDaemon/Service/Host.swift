internal import Arbiter
internal import Foundation
internal import Glibc
internal import HostAPI
internal import Links
internal import NIOHTTP1
internal import OutputRelay
public import Logging
internal import Synchronization

/// One host of a pair: primary for some machines, backup for others.
public final class Host: Sendable {
    public static let version = HostAPIVersion.current

    let context: HostContext
    let registry: MachineRegistry
    let machines: MachineKeeper
    let keys = SessionKeys()
    private let reprotection: Reprotection
    private let surveys = ConnectionCount()
    private static let mostSurveys = 4
    private let listeners = Mutex<[any Sendable]>([])
    /// Threads of backup sessions, those included that wait for their machine's name.
    private let standbys = ConnectionCount()
    private static let mostStandbys = 256
    /// Seconds since 1970.
    let startTime = Date().timeIntervalSince1970

    public init(configuration: DaemonConfiguration, logger: Logger) throws(HostDaemonError) {
        let registry = MachineRegistry()
        self.registry = registry
        let context = HostContext(
            configuration: configuration, events: EventLog(logger: logger), arbiter: try Self.arbiter(configuration),
            tls: ControlTLS(
                authorityFile: configuration.tls.authority, certificateFile: configuration.tls.certificate, keyFile: configuration.tls.key),
            heartbeats: try HeartbeatService(intervalMilliseconds: configuration.detectionMilliseconds / 5), faults: try FaultPoints(),
            injectorPath: try Self.helper("understudy-inject"), guardPath: try Self.helper("understudy-guard"),
            promote: { (machine, context) throws(HostDaemonError) in
                let session = try PrimarySession(takenOver: machine, context: context)
                registry.replace(session)
                try session.takeUp(machine)
                if machine.protectBack { RenewedProtection.start(of: session, in: registry, context, .switchover) }
            },
            protectAgain: { session, context in
                RenewedProtection.start(of: session, in: registry, context, .change)
            })
        self.context = context
        machines = MachineKeeper(context: context, registry: registry)
        reprotection = Reprotection(context: context, registry: registry)
    }

    /// Examines what a configuration file cannot show: whether the certificates belong together and are good now.
    ///
    /// - Throws: `.configuration`.
    public static func examine(_ configuration: DaemonConfiguration) throws(HostDaemonError) {
        _ = try CertificateWatch.demandUsable(configuration)
    }

    /// Listens on every address, takes up what an earlier daemon left, and serves until the process ends.
    public func start() throws(HostDaemonError) {
        signal(SIGPIPE, SIG_IGN)
        // A QEMU that is not root must reach the socket for its disks in the runtime folder; what else is there is for its owner alone.
        for (folder, mode) in [(context.configuration.runtimeFolder, 0o711), (context.configuration.stateFolder, 0o750)] {
            try PrivateFolder.make(folder, mode: mode)
        }
        let metrics = try context.configuration.metrics.map { metrics throws(HostDaemonError) in try serve(metrics) }
        let server = try APIServer(path: context.configuration.socket, host: self)
        // First of all the machines of an earlier daemon get their names, before a peer can ask for one of them.
        try recover()
        try recoverTakeovers()
        for orphan in try OrphanedStandby.endAll(in: context.configuration.runtimeFolder) {
            context.events.record(
                "standby-orphaned", machine: "-", "\(orphan) was left by an earlier daemon before it had received anything; it was ended")
        }
        try listen()
        if let metrics { listeners.withLock { $0.append(metrics) } }
        try context.certificates.start { [self] in renewListeners() }
        try context.arbiterWatch.start()
        try server.start()
        context.events.record("started", machine: "-", "understudyd \(Self.version) on host \(context.configuration.name)")
        try machines.watchRunning()
        try reprotection.start()
        try startAfterBoot()
    }

    /// Says that the daemon ends and what that does to its machines.
    ///
    /// - Returns: the same in one line.
    public func end() -> String {
        let running = registry.all.filter { $0.status.role == .primary && $0.status.protected }.map(\.name)
        let text =
            running.isEmpty
            ? "understudyd ends; no protected guest runs on this host"
            : "understudyd ends while it protects \(running.joined(separator: ", ")): the backup takes over now"
        context.events.record("stopping", machine: "-", text, level: running.isEmpty ? .notice : .warning)
        return text
    }

    private func serve(_ metrics: DaemonConfiguration.MetricsConfiguration) throws(HostDaemonError) -> MetricsServer {
        guard let address = HostAndPort(metrics.listen) else { preconditionFailure("the configuration was validated") }
        return try MetricsServer(address: address) { [self] path in
            switch path {
            case "/livez": page(liveness)
            case "/readyz": page(readiness)
            case "/metrics": MetricsServer.Page(status: .ok, type: "text/plain; version=0.0.4; charset=utf-8", body: self.metrics.text)
            default: nil
            }
        }
    }

    private func page(_ health: Health) -> MetricsServer.Page {
        MetricsServer.Page(status: health.isWell ? .ok : .serviceUnavailable, body: health.text)
    }

    private static func arbiter(_ configuration: DaemonConfiguration) throws(HostDaemonError) -> any ArbiterClient {
        let arbiter = configuration.arbiter
        do throws(ArbiterError) {
            guard let endpoints = arbiter.etcd else { return try FileArbiter(folder: arbiter.folder ?? "") }
            return try EtcdArbiter(
                endpoints: endpoints, security: arbiter.security,
                history: try EtcdHistory(path: "\(configuration.stateFolder)/etcd-seen.json"))
        } catch {
            throw HostDaemonError(.configuration, "the arbiter cannot be used: \(error)", cause: error)
        }
    }

    /// The injecting helper lies beside the daemon's own program.
    private static func helper(_ name: String) throws(HostDaemonError) -> String {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path
        let path = "\(own)/\(name)"
        guard access(path, X_OK) == 0 else {
            throw HostDaemonError(.configuration, "\(path) is missing: install it beside understudyd")
        }
        return path
    }

    private func listen() throws(HostDaemonError) {
        guard let control = HostAndPort(context.configuration.listen), let checkpoint = HostAndPort(context.configuration.checkpointListen)
        else {
            preconditionFailure("the configuration was validated")
        }
        let rejections = Rejections(events: context.events)
        let rejected: @Sendable (LinkError, String) -> Void = { error, address in rejections.record(error, from: address) }
        do throws(LinkError) {
            let controls = try ControlListener(
                host: control.host, port: UInt16(control.port), tls: context.tls, peers: Set(context.configuration.peers.map(\.name)),
                handlers: ControlListener.Handlers(accepted: { [self] channel in accept(channel) }, rejected: rejected))
            let streams = try CheckpointListener(
                host: checkpoint.host, port: UInt16(checkpoint.port),
                handlers: CheckpointListener.Handlers(
                    key: { [keys] in keys.key(of: $0) }, accepted: { [keys] in keys.accept($0, $1) }, rejected: rejected))
            listeners.withLock { $0 = [controls, streams] }
        } catch {
            throw HostDaemonError(.configuration, "cannot listen: \(error.message)", cause: error)
        }
    }

    /// Peers that connect from now on see the certificate that lies in the files now.
    private func renewListeners() {
        for listener in listeners.withLock({ $0 }).compactMap({ $0 as? ControlListener }) {
            do throws(LinkError) { try listener.renew() } catch {
                context.events.record("certificate-unusable", machine: "-", error.description, level: .error)
            }
        }
    }

    /// A peer's channel begins with its wish for a standby; everything after it belongs to that session.
    private func accept(_ channel: ControlChannel) -> ControlChannel.Handlers {
        let shared = SharedSession()
        return ControlChannel.Handlers(
            frame: { [self] frame in
                guard let message = ControlMessage.decode(frame) else { return refuse(channel) }
                if let session = shared.session {
                    if case .frames(let frames) = message {
                        session.keep(frames)
                    } else {
                        session.mailbox.post(.control(message))
                    }
                } else if case .prepare(let preparation) = message {
                    shared.session = begin(preparation, on: channel)
                } else if case .survey(let survey) = message, shared.survey == nil, survey.host == channel.peerName {
                    shared.survey = survey.sessionIdentifier
                    answer(survey, on: channel)
                }
            },
            closed: { [self] error in
                if let survey = shared.survey { keys.forget(survey) }
                shared.session?.mailbox.post(.channelClosed(error?.message ?? "closed by this side"))
            })
    }

    /// Few at a time: that bounds what a peer can make this host do.
    private func answer(_ survey: Survey, on channel: ControlChannel) {
        guard surveys.enter(limit: Self.mostSurveys) else { return channel.close() }
        do throws(HostDaemonError) {
            try Surveyor(context: context, keys: keys).answer(survey, on: channel) { [surveys] in surveys.leave() }
        } catch {
            surveys.leave()
            context.events.record("rejected", machine: "-", "a check by \(channel.peerName): \(error.message)", level: .warning)
            channel.close()
        }
    }

    /// Tells both operators that the two daemons do not understand each other.
    private func refuse(_ channel: ControlChannel) {
        let host = context.configuration.name
        context.events.record(
            "rejected", machine: "-",
            "\(channel.peerName) sent a message that this version (protocol \(ControlMessage.version)) does not know: run the same version on both hosts",
            level: .warning)
        channel.tell(
            .refused(
                message:
                    "\(host) does not understand this message; it speaks protocol \(ControlMessage.version): run the same version on both hosts"
            ))
        channel.close()
    }

    private func begin(_ preparation: Preparation, on channel: ControlChannel) -> BackupSession? {
        do throws(HostDaemonError) {
            guard preparation.primary == channel.peerName else {
                throw HostDaemonError(.refused, "\(channel.peerName) asked in the name of \(preparation.primary)")
            }
            guard MachineName.isValid(preparation.name) else { throw HostDaemonError(.refused, "the machine's name is not usable") }
            let session = try BackupSession(preparation: preparation, channel: channel, keys: keys, context: context)
            guard standbys.enter(limit: Self.mostStandbys) else {
                throw HostDaemonError(.busy, "this host prepares or keeps \(Self.mostStandbys) standbys already: try again later")
            }
            do throws(HostDaemonError) { try session.start(in: registry) { [standbys] in standbys.leave() } } catch {
                standbys.leave()
                throw error
            }
            return session
        } catch {
            let name = MachineName.isValid(preparation.name) ? preparation.name : "-"
            context.events.record("refused", machine: name, error.description, level: .warning)
            channel.tell(.refused(message: error.description))
            return nil
        }
    }

    /// Machines whose gate an earlier daemon left: the arbiter decides what becomes of each.
    private func recover() throws(HostDaemonError) {
        let records = try SessionRecord.all(in: context.configuration.runtimeFolder)
        reportGates(besides: Set(records.flatMap(\.taps)))
        for record in records {
            var request = ProtectRequest(
                name: record.name, qmp: record.qmp, backup: record.backup, intervalMilliseconds: record.intervalMilliseconds)
            request.sharedDisks = record.sharedDisks
            let session = try PrimarySession(request: request, qmpPath: record.qmp, ownProcess: nil, context: context)
            try registry.add(session)
            try session.recover(record)
        }
    }

    /// Standbys that an earlier daemon left, one of which may be the guest by now.
    private func recoverTakeovers() throws(HostDaemonError) {
        for (note, folder) in try TakeoverNote.all(in: context.configuration.runtimeFolder) {
            // A machine with a record of its own was looked after already when that daemon ended.
            guard registry[note.name] == nil else {
                TakeoverNote.remove(from: folder)
                continue
            }
            let session = TakeoverSession(note, folder: folder, context: context)
            try registry.add(session)
            try session.start()
        }
    }

    /// A closed gate of which no record tells keeps a guest cut off until somebody acts.
    private func reportGates(besides known: Set<String>) {
        do throws(OutputRelayError) {
            for gate in try LeftoverRelay.findAll() where gate.isClosed && !gate.isInUse && !known.contains(gate.tap) {
                context.events.record(
                    "gate-unexplained", machine: gate.identity,
                    "the output of the guest on tap \(gate.tap) is held and the runtime folder says nothing of it. If no other host runs \(gate.identity), end that QEMU, delete the tap (ip link del \(gate.tap)) and start the machine anew",
                    level: .critical)
            }
        } catch {
            context.events.record("gates-unknown", machine: "-", "the taps of this host cannot be examined: \(error)", level: .warning)
        }
    }
}

/// What a control channel is for, once its first message has come.
private final class SharedSession: Sendable {
    private let storage = Mutex<(session: BackupSession?, survey: CheckpointSessionID?)>((nil, nil))

    var session: BackupSession? {
        get { storage.withLock { $0.session } }
        set { storage.withLock { $0.session = newValue } }
    }

    /// The checkpoint stream that a survey may open while its channel lives.
    var survey: CheckpointSessionID? {
        get { storage.withLock { $0.survey } }
        set { storage.withLock { $0.survey = newValue } }
    }
}
