internal import Foundation
internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import QMP
internal import UnderstudyCore

/// Answers a peer's survey: this host's own requirements, and what this host sees of the one that asks.
struct Surveyor {
    let check: HostCheck
    private var context: HostContext { check.context }

    init(context: HostContext, keys: SessionKeys) { check = HostCheck(context: context, keys: keys) }

    /// Works on a thread of its own and sends the answer.
    ///
    /// - Parameter done: called when the answer was sent.
    func answer(_ survey: Survey, on channel: ControlChannel, done: @escaping @Sendable () -> Void) throws(HostDaemonError) {
        // Before anything that takes time: the peer compares this with its own clock.
        let time = Date().timeIntervalSince1970
        let began = MonotonicClock.now
        let (session, key) = (survey.sessionIdentifier, CheckpointSessionKey(hexadecimal: survey.sessionKey))
        if let session, let key { CheckpointTrial.expect(session, key: key, in: check.keys) }
        try DedicatedThread(name: "survey") {
            defer { done() }
            let answer = examine(survey, session: session, key: key, time: time, began: began)
            channel.tell(.surveyed(answer))
        }
    }

    private func examine(
        _ survey: Survey, session: CheckpointSessionID?, key: CheckpointSessionKey?, time: Double, began: UInt64
    ) -> SurveyAnswer {
        var lines = check.ownLines
        if let session, let key { lines += check.reachBack(survey.host, session: session, key: key) }
        var sees: Bool?
        if let record = survey.scratchRecord, let place = survey.scratchKey {
            do throws(HostDaemonError) { sees = try check.read(place) == record } catch { sees = false }
        }
        let qemu: String? = if case .success(let version) = check.qemuVersion(survey.qemuProgram) { version.description } else { nil }
        return SurveyAnswer(
            version: ControlMessage.version, host: context.configuration.name, time: time,
            seconds: Double(MonotonicClock.now - began) / 1e9, lines: lines, qemu: qemu, processor: HostCheck.processor,
            availableMemory: HostCheck.availableMemory, seesScratchRecord: sees, detectionNanoseconds: context.detectionNanoseconds,
            stagingMebibytes: context.configuration.stagingMebibytes)
    }
}

extension HostCheck {
    /// Whether this host reaches a peer that asks for it.
    func reachBack(_ name: String, session: CheckpointSessionID, key: CheckpointSessionKey) -> [CheckReport.Line] {
        let remedy = "compare addresses, firewalls and certificates on both hosts"
        do throws(HostDaemonError) {
            let peer = try context.peer(named: name)
            guard let control = HostAndPort(peer.control), let checkpoint = HostAndPort(peer.checkpoint) else {
                preconditionFailure("the configuration was validated")
            }
            return [
                trial("control channel to \(name)", "\(peer.control) answers with its own certificate", remedy: remedy) {
                    let channel = try ControlChannel.connect(
                        host: control.host, port: UInt16(control.port), tls: context.tls, peerName: name, timeout: .seconds(3),
                        handlers: ControlChannel.Handlers(frame: { _ in }, closed: { _ in }))
                    channel.close()
                },
                trial("checkpoint stream to \(name)", "\(peer.checkpoint) took a session", remedy: remedy) {
                    try CheckpointTrial.open(session, key: key, to: checkpoint)
                },
            ]
        } catch {
            return [.init("control channel to \(name)", .failed, error.message, remedy: "add it to [[peers]]")]
        }
    }
}
