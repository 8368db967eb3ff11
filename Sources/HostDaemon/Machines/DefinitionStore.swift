internal import Foundation

/// The definitions of a host's machines: one file each in the state folder, which outlives daemon and host.
struct DefinitionStore: Sendable {
    private let folder: String
    private static let suffix = ".toml"

    init(stateFolder: String) { folder = "\(stateFolder)/machines" }

    private func path(_ name: String) -> String { "\(folder)/\(name)\(Self.suffix)" }

    /// Keeps a definition in its own words, so that its comments stay.
    func save(_ text: String, name: String) throws(HostDaemonError) {
        do {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o750])
            // QEMU's arguments may hold secrets.
            let url = URL(fileURLWithPath: path(name))
            try Data(text.utf8).write(to: url, options: .atomic)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: url.path)
        } catch {
            throw HostDaemonError(.system, "\(path(name)) cannot be written: \(error.localizedDescription)", cause: error)
        }
    }

    /// The definition of a machine; nil when there is none.
    func load(_ name: String) throws(HostDaemonError) -> MachineDefinition? {
        guard MachineName.isValid(name), FileManager.default.fileExists(atPath: path(name)) else { return nil }
        let text: String
        do { text = try String(contentsOfFile: path(name), encoding: .utf8) } catch {
            throw HostDaemonError(.system, "\(path(name)) cannot be read: \(error.localizedDescription)", cause: error)
        }
        let definition = try MachineDefinition.parse(text, place: path(name))
        guard definition.name == name else {
            throw HostDaemonError(.refused, "\(path(name)) defines \"\(definition.name)\": rename the file, or correct `name`")
        }
        return definition
    }

    /// The names of all definitions, in order.
    func names() throws(HostDaemonError) -> [String] {
        guard FileManager.default.fileExists(atPath: folder) else { return [] }
        do {
            return try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(Self.suffix) }
                .map { String($0.dropLast(Self.suffix.count)) }.sorted()
        } catch {
            throw HostDaemonError(.system, "the definitions in \(folder) cannot be read: \(error.localizedDescription)", cause: error)
        }
    }

    /// - Returns: false when there was none.
    func remove(_ name: String) throws(HostDaemonError) -> Bool {
        guard MachineName.isValid(name), FileManager.default.fileExists(atPath: path(name)) else { return false }
        do { try FileManager.default.removeItem(atPath: path(name)) } catch {
            throw HostDaemonError(.system, "\(path(name)) cannot be removed: \(error.localizedDescription)", cause: error)
        }
        return true
    }
}
