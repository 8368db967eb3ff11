internal import Glibc
internal import GuestMemory
internal import HostAPI
internal import Hypervisor
internal import Links
internal import LinuxShim
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// From the operator's word to a machine whose memory lies on both hosts.
extension PrimarySession {
    /// Examines, prepares the backup, copies the memory, rehearses.
    func establish() throws(HostDaemonError) {
        let (machine, bridges) = try examine()
        try connect()
        arbiter = try ArbiterWorker(client: context.arbiter, key: HostContext.key(of: name)) { [mailbox] number, reply in
            mailbox.post(.arbiter(number, reply))
        }
        try perform(core.begin(now: MonotonicClock.now))
        try pump(seconds: 10, what: "the arbiter's permission") { if case .registering = core.state { false } else { true } }
        guard let record = core.record, case .synchronising = core.state else {
            throw HostDaemonError(
                .arbiter, shared.withLock { $0.error?.message } ?? "the arbiter did not permit protection: see `understudy events`")
        }
        context.faults.pass(.recordPermitted)
        try prepareBackup(machine: machine, bridges: bridges, record: record)
        try copyDisks()
        try armTracking(machine)
        try synchronise()
    }

    /// Looks at machine and host; nothing is touched.
    private func examine() throws(HostDaemonError) -> (MachineDescription, bridges: [String: String]) {
        do throws(QMPError) {
            qmp = try QMPClient(socketPath: qmpPath)
        } catch {
            throw HostDaemonError(.refused, error.message, cause: error)
        }
        let machine: MachineDescription
        let refusals: [Refusal]
        do throws(HypervisorError) {
            machine = try MachineDescription.read(from: qmp!)
            refusals = Hypervisor.refusals(machine: machine, host: try HostFacts.gather(for: machine))
        } catch {
            throw HostDaemonError(.refused, "the machine behind \(qmpPath) cannot be examined: \(error.message)", cause: error)
        }
        guard refusals.isEmpty else {
            throw HostDaemonError(.refused, "\(name) cannot be protected:\n" + refusals.map { "  - \($0)" }.joined(separator: "\n"))
        }
        guard !machine.ports.isEmpty else { throw HostDaemonError(.refused, "\(name) has no network card whose output can be held") }
        var bridges: [String: String] = [:]
        for tap in machine.taps { bridges[tap] = try bridge(of: tap) }
        try removePassingFilters(machine)
        // Nobody else protects the machine, so whatever hangs on its disks is left over; they have other names without it.
        let found = try removeLeftMirrors() ? describe() : machine
        try adopt(found)
        return (found, bridges)
    }

    private func describe() throws(HostDaemonError) -> MachineDescription {
        do throws(HypervisorError) { return try MachineDescription.read(from: qmp!) } catch {
            throw HostDaemonError(.refused, "the machine behind \(qmpPath) cannot be examined: \(error.message)", cause: error)
        }
    }

    private func bridge(of tap: String) throws(HostDaemonError) -> String {
        let bridge: String?
        let leftover: LeftoverRelay?
        do throws(OutputRelayError) {
            bridge = try NetworkInterface.bridge(of: tap)
            leftover = try LeftoverRelay.find(tap: tap)
        } catch {
            throw HostDaemonError(.network, "the tap \(tap) cannot be examined: \(error)", cause: error)
        }
        guard let bridge else {
            throw HostDaemonError(.refused, "the tap \(tap) is in no bridge: put it into one, `ip link set \(tap) master BRIDGE`")
        }
        guard leftover?.isInUse != true else {
            throw HostDaemonError(.refused, "the tap \(tap) is gated already: is the machine protected under another name?")
        }
        guard leftover?.isClosed != true else {
            throw HostDaemonError(
                .refused,
                "an earlier daemon left the output of \(tap) held, and nothing tells whether this guest may go on: if no other host runs it, end its QEMU, delete the tap (ip link del \(tap)) and start the machine anew"
            )
        }
        return bridge
    }

    private func adopt(_ machine: MachineDescription) throws(HostDaemonError) {
        let descriptor = understudy_pidfd_open(machine.process.id)
        guard descriptor >= 0 else {
            throw HostDaemonError(.guest, "QEMU's process \(machine.process.id) cannot be watched: it ended, or descriptors ran out")
        }
        self.machine = machine
        processDescriptor = descriptor
        publish {
            $0.qemu = QEMUStatus(pid: machine.process.id, version: machine.version.description, qmp: qmpPath)
            $0.taps = machine.ports
        }
    }

    private func connect() throws(HostDaemonError) {
        let peer = try context.peer(named: request.backup)
        publish(.starting, "connecting to \(peer.name)")
        guard let address = HostAndPort(peer.control) else { preconditionFailure("the configuration was validated") }
        channel = try reach(peer, at: address)
        beat = context.heartbeats.add { [weak self, channel] in
            guard let self, let channel else { return }
            channel.tell(.heartbeat(Heartbeat(progressAge: self.progressAge, silenceLimit: self.silenceLimit)))
        }
    }

    /// A host that has just come up may not be reachable at once, so this is tried for some seconds.
    private func reach(
        _ peer: DaemonConfiguration.PeerConfiguration, at address: HostAndPort
    ) throws(HostDaemonError) -> ControlChannel {
        let end = MonotonicClock.now + 5_000_000_000
        while true {
            do throws(LinkError) {
                return try ControlChannel.connect(
                    host: address.host, port: UInt16(address.port), tls: context.tls, peerName: peer.name, handlers: handlers)
            } catch {
                guard error.code == .connectFailed, MonotonicClock.now < end else {
                    throw HostDaemonError(
                        .peer, "the backup host \(peer.name) cannot be reached at \(peer.control): \(error.message)", cause: error)
                }
            }
            try pump(seconds: 0.3)
        }
    }

    private var handlers: ControlChannel.Handlers {
        ControlChannel.Handlers(
            frame: { [mailbox] frame in
                if let message = ControlMessage.decode(frame) {
                    mailbox.post(.control(message))
                } else {
                    mailbox.post(.channelClosed("the backup speaks another protocol version"))
                }
            },
            closed: { [mailbox] error in mailbox.post(.channelClosed(error?.message ?? "closed by this side")) })
    }

    private func prepareBackup(machine: MachineDescription, bridges: [String: String], record: ArbiterRecord) throws(HostDaemonError) {
        publish(.starting, "\(request.backup) prepares a standby")
        let nonce = try SharedArbiter.nonce(of: context.arbiter, host: context.configuration.name)
        let (session, key) = try newSession()
        let disks = try diskPreparations(machine)
        defer { for disk in disks { disk.shared?.removeProof() } }
        let (diskSession, diskKey) = try newSession()
        send(
            .prepare(
                Preparation(
                    version: ControlMessage.version, name: name, primary: context.configuration.name, machine: machine,
                    residentMemory: StandbyMemory.resident(of: machine.process.id), bridges: bridges,
                    record: record,
                    session: session.hexadecimal, sessionKey: key.secretHexadecimal, sessionNonce: core.configuration.sessionNonce,
                    detectionNanoseconds: timing.detection, arbiterNonce: nonce, disks: disks,
                    diskSession: disks.isEmpty ? nil : diskSession.hexadecimal,
                    diskSessionKey: disks.isEmpty ? nil : diskKey.secretHexadecimal)))
        try pump(seconds: 60, what: "the standby on \(request.backup)") { standbyIsPrepared }
        context.faults.pass(.standbyPrepared)
        stream = try connectStream(session: session, key: key)
        try prepareDisks(machine, session: diskSession, key: diskKey)
    }

    private func newSession() throws(HostDaemonError) -> (CheckpointSessionID, CheckpointSessionKey) {
        do throws(LinkError) {
            return (try CheckpointSessionID.random(), try CheckpointSessionKey.random())
        } catch {
            throw HostDaemonError(.system, error.message, cause: error)
        }
    }

    /// Connects to the backup's checkpoint port and exchanges hellos.
    func connectStream(session: CheckpointSessionID, key: CheckpointSessionKey) throws(HostDaemonError) -> SealedStream {
        let peer = try context.peer(named: request.backup)
        guard let address = HostAndPort(peer.checkpoint) else { preconditionFailure("the configuration was validated") }
        do throws(LinkError) {
            let stream = try SealedStream.connect(
                host: address.host, port: UInt16(address.port), session: session, key: key, deadline: .now + .seconds(5))
            try stream.send(.hello(WireMessage.Hello(role: .primary, base: identity(0))), deadline: .now + .seconds(5))
            guard case .hello = try stream.receive(deadline: .now + .seconds(5)) else {
                throw LinkError(.protocolViolation, "the backup did not answer the hello")
            }
            return stream
        } catch {
            throw HostDaemonError(.peer, "the checkpoint stream to \(peer.checkpoint) failed: \(error.message)", cause: error)
        }
    }

    func identity(_ epoch: UInt64) -> EpochIdentity {
        EpochIdentity(generation: core.record?.generation ?? 0, sessionNonce: core.configuration.sessionNonce, epoch: epoch)
    }

    private func armTracking(_ machine: MachineDescription) throws(HostDaemonError) {
        do throws(GuestMemoryError) {
            let tracker = try DirtyTracker(pid: machine.process.id, blocks: machine.ramBlocks, helperPath: context.injectorPath)
            self.tracker = tracker
            copier = try PageCopier(pid: machine.process.id, blocks: machine.ramBlocks, threads: context.configuration.copyThreads)
        } catch {
            throw HostDaemonError(.guest, "the guest's memory cannot be tracked: \(error.message)", cause: error)
        }
        do throws(HypervisorError) {
            gate = try SaveGate(qmp: qmp!)
        } catch {
            throw HostDaemonError(.guest, "QEMU does not take the save gate: \(error.message)", cause: error)
        }
        engine = try CheckpointEngine(
            gate: gate!, tracker: tracker!, copier: copier!, stagingBytes: context.configuration.stagingMebibytes << 20,
            limit: cutLimit, faults: context.faults)
        context.faults.pass(.trackingArmed)
    }

    private func synchronise() throws(HostDaemonError) {
        let transmission = try makeTransmission()
        let synchroniser = Synchroniser(
            session: self, engine: engine!, tracker: tracker!, copier: copier!, transmission: transmission)
        publish(.synchronising, "copying the guest's memory to \(request.backup)")
        report("synchronising", "copying the guest's memory to \(request.backup)")
        try synchroniser.copyRounds()
        try synchroniser.rehearse()
        publish(.synchronising, "the standby on \(request.backup) rehearses the checkpoint")
        try pump(seconds: 60, what: "the rehearsal on \(request.backup)") { rehearsalIsOver }
        context.faults.pass(.rehearsed)
        report("rehearsed", "a throwaway standby on \(request.backup) loaded a full checkpoint")
        do throws(OutputRelayError) {
            let prepared = try GuestOutput.prepare(
                cards: outputCards(machine!), identity: name,
                configuration: OutputRelay.Configuration(
                    ringBytes: context.configuration.outputMebibytes << 20, openWithoutCommit: request.unsafeNoOutputCommit,
                    onOutput: onOutput))
            output = prepared
            shared.withLock { $0.output = prepared }
        } catch {
            throw HostDaemonError(.network, "the output gate cannot be prepared: \(error)", cause: error)
        }
        context.faults.pass(.relayPrepared)
        try holdBackWrites()
        // Last, so that little has changed when the first epoch is cut.
        try synchroniser.copyRounds()
        sender = try EpochSender(
            engine: engine!, transmission: transmission, stream: stream!, patience: .seconds(30), faults: context.faults
        ) {
            [mailbox] epoch, error in
            mailbox.post(.sent(epoch, error))
        }
        isEstablishing = false
        try perform(core.handle(.rehearsed, now: MonotonicClock.now))
    }

    private func makeTransmission() throws(HostDaemonError) -> EpochTransmission {
        let limits = context.configuration.checkpoint
        let transmission = try EpochTransmission(
            stream: stream!, blockLengths: machine!.ramBlocks.map(\.usedLength), mode: request.compression ?? limits.compression,
            referenceMebibytes: limits.referenceMebibytes)
        shared.withLock { $0.transmission = transmission }
        return transmission
    }

    func progress(_ progress: SynchronisationProgress) { publish { $0.synchronisation = progress } }
}
