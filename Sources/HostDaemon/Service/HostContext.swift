internal import Arbiter
internal import Links
internal import Logging
internal import NIOPosix
internal import Synchronization
internal import UnderstudyCore

typealias EventLevel = Logger.Level

/// What every session of a host needs from its host.
final class HostContext: Sendable {
    let configuration: DaemonConfiguration
    let events: EventLog
    let arbiter: any ArbiterClient
    let tls: ControlTLS
    let heartbeats: HeartbeatService
    let certificates: CertificateWatch
    let arbiterWatch: ArbiterWatch
    let faults: FaultPoints
    /// The program that makes one system call inside QEMU.
    let injectorPath: String
    /// The program `understudy-guard`.
    let guardPath: String
    /// Gives a guest that a backup's session took over to a primary's session.
    let promote: @Sendable (TakenOverMachine, HostContext) throws(HostDaemonError) -> Void
    /// Protects a machine anew that its session lost the protection of.
    let protectAgain: @Sendable (PrimarySession, HostContext) -> Void

    init(
        configuration: DaemonConfiguration, events: EventLog, arbiter: any ArbiterClient, tls: ControlTLS, heartbeats: HeartbeatService,
        faults: FaultPoints, injectorPath: String, guardPath: String,
        promote: @escaping @Sendable (TakenOverMachine, HostContext) throws(HostDaemonError) -> Void,
        protectAgain: @escaping @Sendable (PrimarySession, HostContext) -> Void
    ) {
        certificates = CertificateWatch(configuration: configuration, events: events)
        arbiterWatch = ArbiterWatch(arbiter: arbiter, events: events)
        self.configuration = configuration
        self.events = events
        self.arbiter = arbiter
        self.tls = tls
        self.heartbeats = heartbeats
        self.faults = faults
        self.injectorPath = injectorPath
        self.guardPath = guardPath
        self.promote = promote
        self.protectAgain = protectAgain
    }

    func peer(named name: String) throws(HostDaemonError) -> DaemonConfiguration.PeerConfiguration {
        guard let peer = configuration.peers.first(where: { $0.name == name }) else {
            let known = configuration.peers.map(\.name).joined(separator: ", ")
            throw HostDaemonError(.refused, "no peer named \(name) is configured on \(configuration.name); configured are: \(known)")
        }
        return peer
    }

    /// The protocols' time limits when the peer suspects after so many nanoseconds.
    func timing(detection: UInt64) -> ProtocolTiming {
        ProtocolTiming(detection: detection, longestSilence: UInt64(configuration.longestSilenceMilliseconds * 1e6))
    }

    var detectionNanoseconds: UInt64 { UInt64(configuration.detectionMilliseconds * 1e6) }

    /// The arbiter's key of a machine.
    static func key(of machine: String) -> String { "understudy/machine/\(machine)" }

    /// The key that is read to see whether the arbiter answers; nobody writes it.
    static let watchKey = "understudy/watch"

    /// The scratch key of a host's checks.
    static func checkKey(of host: String) -> String { "understudy/check/\(host)" }
}
