internal import Foundation
internal import TOMLKit

/// How a machine is started: a TOML file with the user's own QEMU arguments, see `docs/operations.md` for every key.
struct MachineDefinition: Codable, Sendable, Equatable {
    /// The name under which hosts and arbiter know the machine.
    var name: String
    /// QEMU's program: a path, or a name in PATH.
    var qemu: String
    /// QEMU's arguments without the program; the daemon adds a monitor of its own.
    var arguments: [String]
    /// The host that shall protect it: one of the configured peers.
    var backup: String?
    /// Length of an epoch in milliseconds; 0: it finds itself.
    var intervalMilliseconds: Double
    /// Start it, and protect it when there is a `backup`, after this host has booted.
    var autostart: Bool
    /// Both hosts see the same images of its disks.
    var shared: Bool
    /// Seconds that the guest may boot undisturbed before protection begins: a kernel that calibrates its clocks must not be stopped.
    var settleSeconds: Double

    private enum CodingKeys: String, CodingKey, CaseIterable {
        case name, qemu, arguments, backup, intervalMilliseconds = "interval-ms", autostart, shared, settleSeconds = "settle-s"
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        qemu = try values.decodeIfPresent(String.self, forKey: .qemu) ?? "qemu-system-x86_64"
        arguments = try values.decode([String].self, forKey: .arguments)
        backup = try values.decodeIfPresent(String.self, forKey: .backup)
        intervalMilliseconds = try values.number(forKey: .intervalMilliseconds) ?? 0
        settleSeconds = try values.number(forKey: .settleSeconds) ?? 10
        shared = try values.decodeIfPresent(Bool.self, forKey: .shared) ?? false
        autostart = try values.decodeIfPresent(Bool.self, forKey: .autostart) ?? false
    }

    /// Reads and examines the text of a definition.
    ///
    /// - Parameter place: what to call the text in an error.
    /// - Throws: `.refused` that names the key and what is expected there.
    static func parse(_ text: String, place: String) throws(HostDaemonError) -> MachineDefinition {
        do {
            let table = try TOMLTable(string: text)
            try DaemonConfiguration.reject(table, "", CodingKeys.allCases.map(\.rawValue), place)
            let definition = try TOMLDecoder().decode(MachineDefinition.self, from: table)
            try definition.validate(place)
            return definition
        } catch let error as HostDaemonError {
            throw HostDaemonError(.refused, error.message)
        } catch let error as TOMLParseError {
            throw HostDaemonError(.refused, "\(place): \(error)")
        } catch let error as DecodingError {
            throw HostDaemonError(.refused, "\(place): \(DaemonConfiguration.explain(error))")
        } catch {
            throw HostDaemonError(.refused, "\(place) cannot be read: \(error.localizedDescription)", cause: error)
        }
    }

    private func validate(_ place: String) throws(HostDaemonError) {
        func demand(_ condition: Bool, _ message: String) throws(HostDaemonError) {
            if !condition { throw HostDaemonError(.refused, "\(place): \(message)") }
        }
        try demand(MachineName.isValid(name), "`name` = \"\(name)\": use 1 to 64 letters, digits, `-`, `_` and `.`")
        try demand(
            intervalMilliseconds == 0 || (5...10_000).contains(intervalMilliseconds),
            "`interval-ms` must lie between 5 and 10000, or be 0 for one that finds itself")
        try demand((0...3_600).contains(settleSeconds), "`settle-s` must lie between 0 and 3600")
        try demand(!qemu.isEmpty, "`qemu` must name QEMU's program")
        for option in ["-daemonize", "-incoming"] {
            let words = [option, "-\(option)"]
            try demand(
                !arguments.contains { words.contains($0) }, "`arguments` has \(option): leave it out, the daemon looks after the process")
        }
        let texts = [qemu] + arguments
        try demand(texts.allSatisfy { !$0.utf8.contains(0) }, "`arguments` has a NUL byte")
    }
}
