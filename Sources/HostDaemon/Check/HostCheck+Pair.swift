internal import Foundation
internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// What two hosts must have in common.
extension HostCheck {
    /// How long the peer may take for its own part.
    private static let patienceSeconds = 30.0
    /// The difference of two clocks from which on event logs and certificates' dates mislead people, in seconds.
    private static let clockTolerance = 1.0

    /// Asks a peer to examine itself and this host, and compares.
    func survey(_ name: String, machine: MachineDescription?) -> [CheckReport.Line] {
        do throws(HostDaemonError) {
            let peer = try context.peer(named: name)
            let (session, key) = try CheckpointTrial.newSession()
            CheckpointTrial.expect(session, key: key, in: keys)
            defer { keys.forget(session) }
            let scratchKey = HostContext.checkKey(of: "\(context.configuration.name)/\(name)")
            // An arbiter that does not answer has a line of its own already.
            let record = try? leaveScratchRecord(at: scratchKey)
            defer { if let record { try? removeScratchRecord(record, at: scratchKey) } }
            let survey = Survey(
                version: ControlMessage.version, host: context.configuration.name, time: Date().timeIntervalSince1970,
                session: session.hexadecimal, sessionKey: key.secretHexadecimal, scratchKey: record == nil ? nil : scratchKey,
                scratchRecord: record, qemuProgram: machine?.process.arguments.first)
            let (answer, clock, stream) = try ask(peer, survey) { checkpointStream(peer, session, key) }
            var lines = [
                CheckReport.Line("control channel to \(name)", .ok, "\(peer.control) answers with its own certificate"), stream,
            ]
            lines += answer.lines.map { line in
                CheckReport.Line("\(name): \(line.requirement)", line.state, line.found, remedy: line.remedy.map { "on \(name): \($0)" })
            }
            return lines + compare(answer, name, machine: machine, clock: clock)
        } catch {
            return [
                .init(
                    "control channel to \(name)", .failed, error.message,
                    remedy: "start understudyd of this version on \(name), and compare addresses, firewalls and certificates on both hosts")
            ]
        }
    }

    private func checkpointStream(
        _ peer: DaemonConfiguration.PeerConfiguration, _ session: CheckpointSessionID, _ key: CheckpointSessionKey
    ) -> CheckReport.Line {
        guard let address = HostAndPort(peer.checkpoint) else { preconditionFailure("the configuration was validated") }
        return trial(
            "checkpoint stream to \(peer.name)", "\(peer.checkpoint) took a session",
            remedy: "compare `peers.checkpoint` here with `checkpoint-listen` there, and the firewalls"
        ) { try CheckpointTrial.open(session, key: key, to: address) }
    }

    /// Sends the survey and waits for the answer.
    ///
    /// - Parameter meanwhile: called after the answer while the channel is open, which keeps the peer's part of the survey alive.
    /// - Returns: the answer, and how far the peer's clock is ahead of this one, with the uncertainty, in seconds.
    private func ask(
        _ peer: DaemonConfiguration.PeerConfiguration, _ survey: Survey, meanwhile: () -> CheckReport.Line
    ) throws(HostDaemonError) -> (SurveyAnswer, clock: (ahead: Double, uncertainty: Double), CheckReport.Line) {
        let mailbox = try Mailbox<Result<SurveyAnswer, HostDaemonError>>()
        let channel = try openChannel(to: peer, answers: mailbox)
        defer { channel.close() }
        var survey = survey
        survey.time = Date().timeIntervalSince1970
        do throws(LinkError) { try channel.send(ControlMessage.survey(survey).encoded()) } catch {
            throw HostDaemonError(.peer, error.description, cause: error)
        }
        let answer = try wait(mailbox, peer.name)
        let travel = max(0, Date().timeIntervalSince1970 - survey.time - answer.seconds)
        guard answer.version == ControlMessage.version else { throw Self.otherVersion(peer.name, answer.version) }
        return (answer, (answer.time - survey.time - travel / 2, travel / 2), meanwhile())
    }

    private func openChannel(
        to peer: DaemonConfiguration.PeerConfiguration, answers: Mailbox<Result<SurveyAnswer, HostDaemonError>>
    ) throws(HostDaemonError) -> ControlChannel {
        guard let address = HostAndPort(peer.control) else { preconditionFailure("the configuration was validated") }
        let handlers = ControlChannel.Handlers(
            frame: { frame in
                guard case .surveyed(let answer)? = ControlMessage.decode(frame) else {
                    return answers.post(.failure(Self.otherVersion(peer.name, nil)))
                }
                answers.post(.success(answer))
            }, closed: { _ in answers.post(.failure(Self.otherVersion(peer.name, nil))) })
        do throws(LinkError) {
            return try ControlChannel.connect(
                host: address.host, port: UInt16(address.port), tls: context.tls, peerName: peer.name, timeout: .seconds(3),
                handlers: handlers)
        } catch {
            throw HostDaemonError(.peer, error.description, cause: error)
        }
    }

    private static func otherVersion(_ name: String, _ version: Int?) -> HostDaemonError {
        let seen =
            version.map { "protocol version \($0), this host \(ControlMessage.version)" }
            ?? "another protocol version, or is busy with other checks"
        return HostDaemonError(.peer, "\(name) speaks \(seen): run the same version on both hosts")
    }

    private func wait(_ mailbox: Mailbox<Result<SurveyAnswer, HostDaemonError>>, _ name: String) throws(HostDaemonError) -> SurveyAnswer {
        let end = MonotonicClock.now + UInt64(Self.patienceSeconds * 1e9)
        while MonotonicClock.now < end {
            if let result = mailbox.take().first { return try result.get() }
            usleep(2_000)
        }
        throw HostDaemonError(.peer, "\(name) did not answer within \(Int(Self.patienceSeconds)) s: look at its log")
    }

    private func compare(
        _ answer: SurveyAnswer, _ name: String, machine: MachineDescription?, clock: (ahead: Double, uncertainty: Double)
    ) -> [CheckReport.Line] {
        [
            .init("protocol version", .ok, "\(answer.version) on both hosts"),
            sharedArbiter(answer, name), qemuVersions(answer, name, machine), memory(answer, name, machine), clocks(clock, name),
            .init(
                "detection-ms", answer.detectionNanoseconds == context.detectionNanoseconds ? .ok : .failed,
                "\(context.detectionNanoseconds / 1_000_000) here, \(answer.detectionNanoseconds / 1_000_000) on \(name)",
                remedy: "both hosts need the same"),
            .init(
                "staging-mib", answer.stagingMebibytes == context.configuration.stagingMebibytes ? .ok : .warning,
                "\(context.configuration.stagingMebibytes) here, \(answer.stagingMebibytes) on \(name)",
                remedy: "give both hosts the same: an epoch that fits here may not fit there"),
            .init(
                "processors", answer.processor == Self.processor ? .ok : .warning,
                answer.processor == Self.processor ? "the same on both hosts" : "\(Self.processor) here, \(answer.processor) on \(name)",
                remedy: "-cpu host and -cpu max need identical processors; choose a named model that both hosts have"),
        ]
    }

    private func sharedArbiter(_ answer: SurveyAnswer, _ name: String) -> CheckReport.Line {
        let remedy = "configure the same arbiter on both hosts"
        return switch answer.seesScratchRecord {
        case true: .init("same arbiter", .ok, "\(name) found the record that this host wrote")
        case false: .init("same arbiter", .failed, "\(name) does not find the record that this host wrote", remedy: remedy)
        case nil: .init("same arbiter", .failed, "this host could not write a record", remedy: remedy)
        }
    }

    private func qemuVersions(_ answer: SurveyAnswer, _ name: String, _ machine: MachineDescription?) -> CheckReport.Line {
        let requirement = "QEMU versions"
        let remedy = "install the same QEMU package on both hosts"
        guard let there = answer.qemu else {
            return .init(requirement, .failed, "\(name) has no \(machine?.process.arguments.first ?? QEMUProgram.usual)", remedy: remedy)
        }
        let here: String
        if let machine {
            here = machine.version.description
        } else {
            guard case .success(let version) = qemuVersion(nil) else {
                return .init(requirement, .failed, "\(there) on \(name), none here", remedy: remedy)
            }
            here = version.description
        }
        if here == there { return .init(requirement, .ok, "\(here) on both hosts") }
        return .init(requirement, .failed, "\(here) here, \(there) on \(name)", remedy: remedy)
    }

    private func memory(_ answer: SurveyAnswer, _ name: String, _ machine: MachineDescription?) -> CheckReport.Line {
        let requirement = "memory on \(name)"
        guard let available = answer.availableMemory else {
            return .init(requirement, .warning, "\(name) does not tell", remedy: "mount /proc there")
        }
        guard let machine else { return .init(requirement, .ok, "\(available >> 20) MiB are free; name a machine by --qmp to compare") }
        let need = StandbyMemory(
            ram: machine.ramBlocks, resident: StandbyMemory.resident(of: machine.process.id), stagingMebibytes: answer.stagingMebibytes)
        return .init(requirement, need.judge(available), need.sentence(available), remedy: StandbyMemory.remedy)
    }

    private func clocks(_ clock: (ahead: Double, uncertainty: Double), _ name: String) -> CheckReport.Line {
        let text = String(
            format: "%@ is %.3f s %@ (give or take %.3f s)", name, abs(clock.ahead), clock.ahead < 0 ? "behind" : "ahead", clock.uncertainty
        )
        let isFar = abs(clock.ahead) - clock.uncertainty > Self.clockTolerance
        return .init(
            "clocks", isFar ? .warning : .ok, text,
            remedy:
                "let a time service (chrony, systemd-timesyncd) set both clocks: event logs and certificates' dates depend on them, no decision does"
        )
    }
}
