internal import Foundation
internal import Hypervisor
internal import TOMLKit

/// The configuration of one host daemon: a TOML file, see `docs/operations.md` for every key.
public struct DaemonConfiguration: Codable, Sendable {
    /// The host's name: the DNS name in its certificate, and the owner in the arbiter's record.
    public var name: String
    /// The address for control channels, `host:port`.
    public var listen: String
    /// The address for checkpoint streams, `host:port`.
    public var checkpointListen: String
    public var stateFolder: String
    public var runtimeFolder: String
    public var socket: String
    public var tls: TLSFiles
    public var arbiter: ArbiterConfiguration
    public var peers: [PeerConfiguration]
    /// Silence of a peer, in milliseconds, after which it is suspected to be dead.
    public var detectionMilliseconds: Double
    /// Silence in milliseconds that is borne at most when signs of life come irregularly.
    public var longestSilenceMilliseconds: Double
    /// What a guest's clock must have lost, in milliseconds, before its agent is asked to set it; 0: it never is.
    public var clockStepMilliseconds: Double
    /// Largest amount of changed memory that one epoch may hold, in MiB.
    public var stagingMebibytes: Int
    /// Largest amount of held output, in MiB.
    public var outputMebibytes: Int
    /// Threads that copy dirty pages while the guest is stopped.
    public var copyThreads: Int
    /// How checkpoints are sent.
    public var checkpoint: CheckpointSettings
    /// How a standby's command line differs from its primary's.
    public var standby: StandbyConfiguration
    /// The copies of other hosts' disks, and the writes on their way.
    public var disks: DiskLimits
    /// What is wanted of epochs whose length nobody fixed.
    public var autopilot: AutopilotLimits
    /// How a peer is cut off from disks that both hosts see; nil: by locks only.
    public var fencing: FencingConfiguration?
    /// Whether machines that lost their backup are protected again by themselves.
    public var reprotect: Reprotect
    /// Hosts that may become the backup then, best first; empty: the one that the machine had.
    public var backups: [String]
    /// Where health and metrics are served; nil: nowhere.
    public var metrics: MetricsConfiguration?

    public enum Reprotect: String, Codable, Sendable { case automatic, manual }

    public struct TLSFiles: Codable, Sendable {
        public var authority: String
        public var certificate: String
        public var key: String
    }

    public struct PeerConfiguration: Codable, Sendable {
        public var name: String
        public var control: String
        public var checkpoint: String
    }

    /// Health and metrics over plain HTTP, without any proof of who asks: on the loopback address by default.
    public struct MetricsConfiguration: Codable, Sendable {
        public var listen: String

        private enum CodingKeys: String, CodingKey { case listen }

        public init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            listen = try values.decodeIfPresent(String.self, forKey: .listen) ?? "127.0.0.1:7642"
        }
    }

    public struct StandbyConfiguration: Codable, Sendable {
        /// Files of the primary and where they are on this host.
        public var paths: [String: String] = [:]
        /// Taps of the primary and their names on this host.
        public var taps: [String: String] = [:]
        /// Netdevs of the primary that are no taps, by id, and what stands behind `-netdev` on this host, without the id.
        public var netdevs: [String: String] = [:]
        /// The bridge that takes the standbys' taps; nil for the name that the primary's has.
        public var bridge: String?
        /// Bridges of the primary and their names on this host; these come before `bridge`.
        public var bridges: [String: String] = [:]
        /// Arguments appended to every standby's command line.
        public var append: [String] = []
        /// Where files go that QEMU writes: `same-path`, or `runtime-folder` when both hosts see one file system.
        var outputFiles = StandbyOverrides.OutputFiles.samePath

        public init() {}

        private enum CodingKeys: String, CodingKey, CaseIterable {
            case paths, taps, netdevs, bridge, bridges, append, outputFiles = "output-files"
        }

        static let keys = CodingKeys.allCases.map(\.rawValue)

        public init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            paths = try values.decodeIfPresent([String: String].self, forKey: .paths) ?? [:]
            taps = try values.decodeIfPresent([String: String].self, forKey: .taps) ?? [:]
            netdevs = try values.decodeIfPresent([String: String].self, forKey: .netdevs) ?? [:]
            bridge = try values.decodeIfPresent(String.self, forKey: .bridge)
            bridges = try values.decodeIfPresent([String: String].self, forKey: .bridges) ?? [:]
            append = try values.decodeIfPresent([String].self, forKey: .append) ?? []
            switch try values.decodeIfPresent(String.self, forKey: .outputFiles) ?? "same-path" {
            case "same-path": outputFiles = .samePath
            case "runtime-folder": outputFiles = .runtimeFolder
            default:
                throw DecodingError.dataCorruptedError(
                    forKey: .outputFiles, in: values, debugDescription: "must be \"same-path\" or \"runtime-folder\"")
            }
        }
    }

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case name, listen, checkpointListen = "checkpoint-listen", stateFolder = "state-folder", runtimeFolder = "runtime-folder", socket,
            tls, arbiter,
            peers, detectionMilliseconds = "detection-ms", longestSilenceMilliseconds = "detection-max-ms",
            clockStepMilliseconds = "clock-step-ms",
            stagingMebibytes = "staging-mib", outputMebibytes = "output-mib",
            copyThreads = "copy-threads", standby, metrics, disks, fencing, autopilot,
            checkpoint, reprotect, backups
    }

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        listen = try values.decodeIfPresent(String.self, forKey: .listen) ?? "0.0.0.0:7640"
        checkpointListen = try values.decodeIfPresent(String.self, forKey: .checkpointListen) ?? "0.0.0.0:7641"
        stateFolder = try values.decodeIfPresent(String.self, forKey: .stateFolder) ?? "/var/lib/understudy"
        runtimeFolder = try values.decodeIfPresent(String.self, forKey: .runtimeFolder) ?? "/run/understudy"
        socket = try values.decodeIfPresent(String.self, forKey: .socket) ?? (runtimeFolder + "/understudyd.sock")
        tls = try values.decode(TLSFiles.self, forKey: .tls)
        arbiter = try values.decode(ArbiterConfiguration.self, forKey: .arbiter)
        peers = try values.decodeIfPresent([PeerConfiguration].self, forKey: .peers) ?? []
        detectionMilliseconds = try values.number(forKey: .detectionMilliseconds) ?? 150
        longestSilenceMilliseconds = try values.number(forKey: .longestSilenceMilliseconds) ?? 4 * detectionMilliseconds
        clockStepMilliseconds = try values.number(forKey: .clockStepMilliseconds) ?? 500
        stagingMebibytes = try values.decodeIfPresent(Int.self, forKey: .stagingMebibytes) ?? 256
        outputMebibytes = try values.decodeIfPresent(Int.self, forKey: .outputMebibytes) ?? 64
        copyThreads = try values.decodeIfPresent(Int.self, forKey: .copyThreads) ?? 2
        checkpoint = try values.decodeIfPresent(CheckpointSettings.self, forKey: .checkpoint) ?? CheckpointSettings()
        standby = try values.decodeIfPresent(StandbyConfiguration.self, forKey: .standby) ?? StandbyConfiguration()
        disks = try values.decodeIfPresent(DiskLimits.self, forKey: .disks) ?? DiskLimits()
        if disks.folder.isEmpty { disks.folder = stateFolder + "/disks" }
        autopilot = try values.decodeIfPresent(AutopilotLimits.self, forKey: .autopilot) ?? AutopilotLimits()
        fencing = try values.decodeIfPresent(FencingConfiguration.self, forKey: .fencing)
        let word = try values.decodeIfPresent(String.self, forKey: .reprotect) ?? Reprotect.automatic.rawValue
        guard let policy = Reprotect(rawValue: word) else {
            throw DecodingError.dataCorruptedError(
                forKey: .reprotect, in: values, debugDescription: "must be \"automatic\" or \"manual\"")
        }
        reprotect = policy
        backups = try values.decodeIfPresent([String].self, forKey: .backups) ?? []
        metrics = try values.decodeIfPresent(MetricsConfiguration.self, forKey: .metrics)
    }

    /// Reads and examines a configuration file.
    ///
    /// - Throws: `.configuration` that names the file, the key and what is expected there.
    public static func load(path: String) throws(HostDaemonError) -> DaemonConfiguration {
        do {
            let text = try String(contentsOfFile: path, encoding: .utf8)
            let table = try TOMLTable(string: text)
            try rejectUnknownKeys(in: table, path: path)
            let configuration = try TOMLDecoder().decode(DaemonConfiguration.self, from: table)
            try configuration.validate(path: path)
            return configuration
        } catch let error as HostDaemonError {
            throw error
        } catch let error as TOMLParseError {
            throw HostDaemonError(.configuration, "\(path): \(error)")
        } catch let error as DecodingError {
            throw HostDaemonError(.configuration, "\(path): \(explain(error))")
        } catch {
            throw HostDaemonError(.configuration, "\(path) cannot be read: \(error.localizedDescription)")
        }
    }

    /// A misspelt key would otherwise leave its default in force without a word.
    private static func rejectUnknownKeys(in table: TOMLTable, path: String) throws(HostDaemonError) {
        try reject(table, "", CodingKeys.allCases.map(\.rawValue), path)
        try reject(table["tls"]?.table, "tls.", ["authority", "certificate", "key"], path)
        try reject(table["arbiter"]?.table, "arbiter.", ArbiterConfiguration.keys, path)
        try reject(table["metrics"]?.table, "metrics.", ["listen"], path)
        try reject(table["fencing"]?.table, "fencing.", FencingConfiguration.keys, path)
        try reject(table["autopilot"]?.table, "autopilot.", AutopilotLimits.keys, path)
        try reject(table["checkpoint"]?.table, "checkpoint.", CheckpointSettings.keys, path)
        try reject(table["disks"]?.table, "disks.", DiskLimits.keys, path)
        try reject(table["standby"]?.table, "standby.", StandbyConfiguration.keys, path)
        for peer in table["peers"]?.array ?? TOMLArray() { try reject(peer.table, "peers.", ["name", "control", "checkpoint"], path) }
    }

    static func reject(_ table: TOMLTable?, _ place: String, _ known: [String], _ path: String) throws(HostDaemonError) {
        for key in table?.keys ?? [] where !known.contains(key) {
            throw HostDaemonError(
                .configuration, "\(path): unknown key `\(place)\(key)`; known are \(known.sorted().joined(separator: ", "))")
        }
    }

    static func explain(_ error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String { context.codingPath.map(\.stringValue).joined(separator: ".") }
        switch error {
        case .keyNotFound(let key, let context):
            // TOMLKit says this of a value of the wrong type too, and then names the key twice.
            let isNamed = context.codingPath.last?.stringValue == key.stringValue
            let path = (context.codingPath.map(\.stringValue) + (isNamed ? [] : [key.stringValue])).joined(separator: ".")
            return "the key `\(path)` is missing or has a value of the wrong type"
        case .typeMismatch(let type, let context): return "the key `\(place(context))` must be a \(type)"
        case .valueNotFound(_, let context): return "the key `\(place(context))` has no value"
        case .dataCorrupted(let context): return "\(place(context)): \(context.debugDescription)"
        @unknown default: return "\(error)"
        }
    }

    private func validate(path: String) throws(HostDaemonError) {
        func demand(_ condition: Bool, _ message: String) throws(HostDaemonError) {
            if !condition { throw HostDaemonError(.configuration, "\(path): \(message)") }
        }
        try demand(!name.isEmpty && name.utf8.count <= 64, "`name` must have 1 to 64 bytes")
        for (key, value) in [("listen", listen), ("checkpoint-listen", checkpointListen)]
            + (metrics.map { [("metrics.listen", $0.listen)] } ?? [])
            + peers.flatMap({ [("peers.control", $0.control), ("peers.checkpoint", $0.checkpoint)] })
        {
            try demand(HostAndPort(value) != nil, "`\(key)` = \"\(value)\" must read ADDRESS:PORT")
        }
        try demand(Set(peers.map(\.name)).count == peers.count && !peers.contains { $0.name == name }, "every peer needs a name of its own")
        for backup in backups where !peers.contains(where: { $0.name == backup }) {
            try demand(false, "`backups` names \(backup), which is none of the `peers`")
        }
        try demand(Set(backups).count == backups.count, "`backups` names a host twice")
        for file in [tls.authority, tls.certificate, tls.key] {
            try demand(FileManager.default.isReadableFile(atPath: file), "the TLS file \(file) is missing or cannot be read")
        }
        try arbiter.validate { (condition, message) throws(HostDaemonError) in try demand(condition, message) }
        try demand(detectionMilliseconds >= 50 && detectionMilliseconds <= 60_000, "`detection-ms` must lie between 50 and 60000")
        try demand(
            longestSilenceMilliseconds >= detectionMilliseconds && longestSilenceMilliseconds <= 240_000,
            "`detection-max-ms` must lie between `detection-ms` and 240000")
        try demand(
            clockStepMilliseconds == 0 || (clockStepMilliseconds >= 10 && clockStepMilliseconds <= 60_000),
            "`clock-step-ms` must be 0, or lie between 10 and 60000")
        try demand(stagingMebibytes >= 16 && stagingMebibytes <= 65_536, "`staging-mib` must lie between 16 and 65536")
        try demand(outputMebibytes >= 1 && outputMebibytes <= 4_096, "`output-mib` must lie between 1 and 4096")
        try disks.validate { (condition, message) throws(HostDaemonError) in try demand(condition, message) }
        try autopilot.validate { (condition, message) throws(HostDaemonError) in try demand(condition, message) }
        try checkpoint.validate { (condition, message) throws(HostDaemonError) in try demand(condition, message) }
        try fencing?.validate { (condition, message) throws(HostDaemonError) in try demand(condition, message) }
        try demand(copyThreads >= 1 && copyThreads <= 64, "`copy-threads` must lie between 1 and 64")
    }
}

extension KeyedDecodingContainer {
    /// A number with or without a point: TOML tells 150 from 150.0, an operator does not.
    func number(forKey key: Key) throws -> Double? {
        if let whole = try? decodeIfPresent(Int.self, forKey: key) { return Double(whole) }
        return try decodeIfPresent(Double.self, forKey: key)
    }
}
