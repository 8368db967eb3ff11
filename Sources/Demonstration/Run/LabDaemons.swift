public import HostAPI
internal import Foundation

/// The two host daemons of a laboratory, with certificates and configuration of their own.
public struct LabDaemons: Sendable {
    /// One running `understudyd`.
    public struct Daemon: Sendable {
        public let process: LabProcess
        /// The Unix socket at which it answers.
        public let socket: String
        public let configuration: String
        public let name: String

        /// Performs one request on a connection of its own.
        public func perform(_ request: HostRequest, onReply: (HostReply) -> Void = { _ in }) throws(HostAPIError) -> HostResult {
            try HostClient(socketPath: socket).perform(request, onReply: onReply)
        }

        /// The state of one machine; nil when the daemon does not know it.
        public func machine(_ name: String) throws(HostAPIError) -> MachineStatus? {
            guard case .status(let status) = try perform(.status) else { return nil }
            return status.machines.first { $0.name == name }
        }
    }

    public let first: Daemon
    public let second: Daemon

    public init(first: Daemon, second: Daemon) {
        self.first = first
        self.second = second
    }

    /// The laboratory's own etcd, as `[arbiter]` names it.
    public static let etcd = "etcd = [\"\(LabAddresses.arbiterEndpoint)\"]"

    /// Starts both daemons and waits until they answer.
    ///
    /// - Parameters:
    ///   - program: path of `understudyd`.
    ///   - settings: further lines of TOML for both configurations, before the tables. Unless they name `reprotect`, nothing is protected
    ///     again unasked: whoever makes a host die decides what comes then.
    ///   - arbiter: what the configuration's `[arbiter]` says.
    ///   - environment: added to each daemon's environment, by the host's name.
    ///   - standby: further lines of TOML at the end of each configuration, in its table `[standby]`, by the host's name.
    ///   - checkpointRoutes: where each host's daemon connects for its checkpoint streams instead of its peer, by the host's name.
    public static func start(
        in lab: Lab, program: String, settings: String = "", arbiter: String = LabDaemons.etcd,
        environment: [String: [String: String]] = [:],
        standby: [String: String] = [:], checkpointRoutes: [String: String] = [:]
    ) throws(DemonstrationError) -> LabDaemons {
        let authority = try LabAuthority(folder: lab.folder)
        let hosts = [
            (lab.host1, LabAddresses.host1Replication, lab.host2, LabAddresses.host2Replication),
            (lab.host2, LabAddresses.host2Replication, lab.host1, LabAddresses.host1Replication),
        ]
        var daemons: [Daemon] = []
        for (host, address, peer, peerAddress) in hosts {
            let files = try authority.issue(host.name)
            let text = configuration(
                host: host, address: address, peer: peer.name, peerAddress: peerAddress,
                checkpointRoute: checkpointRoutes[host.name] ?? "\(peerAddress):7641", authority: authority.certificate, files: files,
                settings: settings, arbiter: arbiter, standby: standby[host.name] ?? "")
            daemons.append(try start(on: host, configuration: text, program: program, environment: environment[host.name] ?? [:]))
        }
        for daemon in daemons { try waitUntilItAnswers(daemon) }
        return LabDaemons(first: daemons[0], second: daemons[1])
    }

    /// Starts a daemon again with the configuration that it had.
    public static func restart(_ daemon: Daemon, on host: LabHost, program: String, environment: [String: String] = [:])
        throws(DemonstrationError) -> Daemon
    {
        let process = try host.spawn([program, "--config", daemon.configuration], environment: environment, log: "understudyd.log")
        let restarted = Daemon(process: process, socket: daemon.socket, configuration: daemon.configuration, name: daemon.name)
        try waitUntilItAnswers(restarted)
        return restarted
    }

    private static func start(
        on host: LabHost, configuration: String, program: String, environment: [String: String]
    ) throws(DemonstrationError) -> Daemon {
        let path = "\(host.folder)/understudyd.toml"
        do { try configuration.write(toFile: path, atomically: true, encoding: .utf8) } catch {
            throw DemonstrationError(.file, "\(path) cannot be written", cause: error)
        }
        let process = try host.spawn([program, "--config", path], environment: environment, log: "understudyd.log")
        return Daemon(process: process, socket: "\(host.folder)/understudyd.sock", configuration: path, name: host.name)
    }

    private static func waitUntilItAnswers(_ daemon: Daemon) throws(DemonstrationError) {
        for _ in 0..<1000 {
            let answers: Bool
            do throws(HostAPIError) {
                _ = try daemon.perform(.status)
                answers = true
            } catch {
                answers = false
            }
            if answers { return }
            if daemon.process.wait(milliseconds: 10) != nil {
                throw DemonstrationError(
                    .process, "understudyd on \(daemon.name) ended at once: see \(daemon.configuration.replacing(".toml", with: ".log"))")
            }
        }
        throw DemonstrationError(.timeout, "understudyd on \(daemon.name) does not answer")
    }

    private static func configuration(
        host: LabHost, address: String, peer: String, peerAddress: String, checkpointRoute: String, authority: String,
        files: (certificate: String, key: String), settings: String, arbiter: String, standby: String
    ) -> String {
        """
        name = "\(host.name)"
        listen = "\(address):7640"
        checkpoint-listen = "\(address):7641"
        runtime-folder = "\(host.folder)/run"
        state-folder = "\(host.folder)/state"
        socket = "\(host.folder)/understudyd.sock"
        \(settings.contains("reprotect") ? settings : "reprotect = \"manual\"\n" + settings)

        [tls]
        authority = "\(authority)"
        certificate = "\(files.certificate)"
        key = "\(files.key)"

        [arbiter]
        \(arbiter)

        [[peers]]
        name = "\(peer)"
        control = "\(peerAddress):7640"
        checkpoint = "\(checkpointRoute)"

        [standby]
        output-files = "runtime-folder"
        \(standby)

        """
    }
}
