internal import Foundation
internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// From the primary's wish to two waiting QEMUs: the standby, and the throwaway one of the rehearsal.
extension BackupSession {
    func prepare() throws(HostDaemonError) {
        guard preparation.version == ControlMessage.version else {
            throw HostDaemonError(
                .refused,
                "\(preparation.primary) speaks protocol version \(preparation.version), this host \(ControlMessage.version): run the same version on both"
            )
        }
        guard preparation.detectionNanoseconds == context.detectionNanoseconds else {
            throw HostDaemonError(
                .refused,
                "`detection-ms` is \(preparation.detectionNanoseconds / 1_000_000) on \(preparation.primary) and \(context.detectionNanoseconds / 1_000_000) here: both hosts need the same"
            )
        }
        if case .failed(let failure) = core.state { throw HostDaemonError(.refused, failure.sentence) }
        beat = context.heartbeats.add { [weak self] in self?.sendHeartbeat() }
        arbiter = try ArbiterWorker(client: context.arbiter, key: HostContext.key(of: name)) { [mailbox] number, reply in
            mailbox.post(.arbiter(number, reply))
        }
        try SharedArbiter.prove(context.arbiter, peer: preparation.primary, announced: preparation.arbiterNonce)
        try SharedArbiter.holds(preparation.record, key: HostContext.key(of: name), context.arbiter, peer: preparation.primary)
        try PrivateFolder.make(folder, anew: true)
        var overrides = StandbyOverrides(
            paths: context.configuration.standby.paths, taps: context.configuration.standby.taps,
            append: context.configuration.standby.append)
        overrides.netdevs = context.configuration.standby.netdevs
        overrides.outputFiles = context.configuration.standby.outputFiles
        try makeTaps(&overrides)
        overrides.disks = try planDisks()
        diskPaths = overrides.disks.map(\.path)
        let standbyLine = try derive(.standby, overrides)
        let rehearsalLine = try derive(.rehearsal, overrides)
        let missing = standbyLine.requiredFiles.filter { !FileManager.default.isReadableFile(atPath: $0) }
        guard missing.isEmpty else {
            throw HostDaemonError(
                .refused,
                "these files of the machine are missing on \(context.configuration.name): \(missing.joined(separator: ", ")). Copy them, or name their places in `standby.paths`"
            )
        }
        try demandSameQEMU(standbyLine)
        try demandMemory()
        try makeDisks(overrides.disks)
        standby = try launch(standbyLine, "standby")
        rehearsal = try launch(rehearsalLine, "rehearsal")
        try demandNetworks()
        try leaveNote()
        context.faults.pass(.standbyLaunched)
        try expectStreams()
        _ = core.handle(.standbyPrepared, now: MonotonicClock.now)
        publish(.starting, "a standby waits for the guest's memory") { [preparation, standby] in
            $0.qemu = standby.map { QEMUStatus(pid: $0.pid, version: preparation.machine.version.description, qmp: nil) }
        }
        let nonce = try SharedArbiter.nonce(of: context.arbiter, host: context.configuration.name)
        send(
            .prepared(
                StandbyReport(
                    rules: standbyLine.rules.map(\.description), warnings: standbyLine.warnings + diskWarnings,
                    qemu: preparation.machine.version.description, arbiterNonce: nonce, diskPaths: diskPaths)))
    }

    /// QEMU starts although its netdev has nobody to talk to, and the guest would be out of reach just when it is needed.
    private func demandNetworks() throws(HostDaemonError) {
        guard let standby, !standby.commandLine.deafNetworks.isEmpty else { return }
        let errors: [String]
        do throws(HypervisorError) {
            errors = try DeafNetwork.errors(of: standby.commandLine.deafNetworks, standby.monitor)
        } catch {
            throw HostDaemonError(.standby, "the standby's networks cannot be examined: \(error.message)", cause: error)
        }
        guard errors.isEmpty else {
            throw HostDaemonError(
                .refused,
                "a network of the standby leads nowhere on \(context.configuration.name): \(errors.joined(separator: "; ")). Start what it connects to, or name its place here under `standby.netdevs`"
            )
        }
    }

    /// For the daemon that finds the standby when this one has died.
    private func leaveNote() throws(HostDaemonError) {
        guard let standby, let startTime = SessionRecord.startTime(of: standby.pid) else {
            throw HostDaemonError(.standby, "the standby QEMU ended at its start")
        }
        let note = TakeoverNote(
            name: name, formerPrimary: preparation.primary, session: preparation.record, processID: standby.pid,
            processStartTime: startTime, qmp: standby.commandLine.qmpSocket, taps: ports,
            version: preparation.machine.version.description, disks: diskPaths, sharedDisks: hasSharedDisks, formerDisks: formerDisks)
        try note.write(to: folder)
    }

    /// Another version would show at the rehearsal only, after all of memory has been copied.
    private func demandSameQEMU(_ line: StandbyCommandLine) throws(HostDaemonError) {
        let primary = preparation.machine.version
        let own: QMPVersion
        do throws(HypervisorError) {
            own = try QEMUProgram.version(of: line.argv[0], log: "\(folder)/version.log")
        } catch {
            throw HostDaemonError(.standby, "the QEMU of \(context.configuration.name) cannot be used: \(error.message)", cause: error)
        }
        guard (own.major, own.minor, own.micro) == (primary.major, primary.minor, primary.micro) else {
            throw HostDaemonError(
                .refused,
                "\(preparation.primary) runs QEMU \(primary), \(context.configuration.name) has \(own) as \(line.argv[0]): install the same version on both hosts"
            )
        }
    }

    /// A standby that the kernel kills for want of memory would be lost just when it is needed.
    private func demandMemory() throws(HostDaemonError) {
        guard let available = HostCheck.availableMemory else { return }
        let need = StandbyMemory(
            ram: preparation.machine.ramBlocks, resident: preparation.residentMemory,
            stagingMebibytes: context.configuration.stagingMebibytes)
        switch need.judge(available) {
        case .ok: return
        case .warning: report("memory-short", "\(need.sentence(available)): \(StandbyMemory.remedy)", level: .warning)
        case .failed:
            throw HostDaemonError(
                .refused, "too little memory on \(context.configuration.name): \(need.sentence(available)). \(StandbyMemory.remedy)")
        }
    }

    private func sendHeartbeat() {
        let condition = shared.withLock { $0.condition }
        let age = condition == .preparing ? 0 : progressAge
        channel.tell(.heartbeat(Heartbeat(progressAge: age, condition: condition.word, committed: condition.committed)))
    }

    func removeFolder() {
        do { try FileManager.default.removeItem(atPath: folder) } catch {
            report("folder-left", "the standby's folder \(folder) could not be removed: \(error.localizedDescription)", level: .warning)
        }
    }

    private func derive(_ purpose: StandbyCommandLine.Purpose, _ overrides: StandbyOverrides) throws(HostDaemonError) -> StandbyCommandLine
    {
        do throws(HypervisorError) {
            return try StandbyCommandLine.derive(
                from: preparation.machine.process.arguments, machine: MachineFacts(preparation.machine), overrides: overrides,
                purpose: purpose,
                runtimeFolder: folder, name: purpose.rawValue)
        } catch {
            throw HostDaemonError(.refused, "no standby can be derived from the machine's command line: \(error.message)", cause: error)
        }
    }

    private func launch(_ line: StandbyCommandLine, _ name: String) throws(HostDaemonError) -> StandbyProcess {
        do throws(HypervisorError) {
            let process = try StandbyProcess.launch(line, runtimeFolder: folder, name: name)
            try process.begin(blocks: preparation.machine.ramBlocks, machineType: preparation.machine.machineType)
            return process
        } catch {
            throw HostDaemonError(.standby, "the \(name) QEMU does not start: \(error.message)", cause: error)
        }
    }

    private func expectStreams() throws(HostDaemonError) {
        try expect(preparation.session, preparation.sessionKey, what: "checkpoint") { .stream($0, $1) }
        guard disks != nil else { return }
        try expect(preparation.diskSession, preparation.diskSessionKey, what: "disk") { .diskStream($0, $1) }
    }

    private func expect(
        _ session: String?, _ key: String?, what: String, message: @escaping @Sendable (SealedStream, WireMessage.Hello) -> Message
    ) throws(HostDaemonError) {
        guard let session = session.flatMap({ CheckpointSessionID(hexadecimal: $0) }),
            let key = key.flatMap({ CheckpointSessionKey(hexadecimal: $0) })
        else { throw HostDaemonError(.peer, "the primary named no usable \(what) session") }
        listeners.expect(session, key: key) { [mailbox] stream, hello in mailbox.post(message(stream, hello)) }
    }

    /// Answers the primary's hello on a stream that it has just opened.
    ///
    /// - Parameter isExpected: whether what the stream is for has been prepared.
    func answer(_ hello: WireMessage.Hello, on stream: SealedStream, what: String, isExpected: Bool) throws(HostDaemonError) {
        guard hello.protocolVersion == WireFormat.protocolVersion, isExpected else {
            stream.shutdown()
            throw HostDaemonError(.peer, "the primary's \(what) stream speaks version \(hello.protocolVersion)")
        }
        do throws(LinkError) {
            try stream.send(.hello(WireMessage.Hello(role: .backup, base: hello.base)), deadline: .now + .seconds(2))
        } catch {
            throw HostDaemonError(.peer, "the \(what) stream failed at once: \(error.message)", cause: error)
        }
    }

    /// What every epoch of this session has in common.
    var base: EpochIdentity {
        EpochIdentity(generation: preparation.record.generation, sessionNonce: preparation.sessionNonce, epoch: 0)
    }

    /// Room for an epoch that fills the primary's staging: its pages, their entries, and the largest device state.
    private static func arenaBytes(staging mebibytes: Int) -> Int { (mebibytes + mebibytes / 256 + 66) << 20 }

    /// Answers the primary's hello and starts to receive.
    func receive(_ stream: SealedStream, _ hello: WireMessage.Hello) throws(HostDaemonError) {
        try answer(hello, on: stream, what: "checkpoint", isExpected: standby != nil && rehearsal != nil)
        guard let standby, let rehearsal else { return }
        self.stream = stream
        let state = try EpochReceiver.State(
            arena: try StagingArena(byteCount: Self.arenaBytes(staging: context.configuration.stagingMebibytes)),
            blockLengths: preparation.machine.ramBlocks.map(\.usedLength), standby: standby, rehearsal: rehearsal)
        receiver = try EpochReceiver(stream: stream, state: state, base: base) { [mailbox] event in mailbox.post(.received(event)) }
        publish(.synchronising, "the guest's memory arrives from \(preparation.primary)")
    }
}
