internal import Foundation
internal import Glibc
internal import UnderstudyCore

/// What a daemon leaves in its runtime folder about a machine that it protects, so that the next one finds it.
struct SessionRecord: Codable, Sendable {
    var name: String
    var qmp: String
    var backup: String
    var intervalMilliseconds: Double
    var processID: Int32
    /// `/proc/PID/stat`'s start time in clock ticks: tells the process from a later one of the same number.
    var processStartTime: UInt64
    /// The guest's taps, one per network card.
    var taps: [String]
    /// The arbiter's record under which the gate is closed.
    var record: ArbiterRecord
    /// The images of the guest's disks on this host; nil in a record of a daemon that did not name them.
    var disks: [String]?
    /// A planned move is under way, for which the guest may be paused; nil means no.
    var isMoving: Bool?
    /// Writes of the guest may be held back from images that both hosts see; nil means no.
    var sharedDisks: Bool?
    /// The arbiter had let everything held leave, and the gate could not be opened; nil means no.
    var wasReleased: Bool?
    /// What ``FormerDisks`` says of the host from which this one took the machine over; nil: nothing.
    var formerDisks: FormerDisks?

    private static let suffix = ".session.json"

    func write(to folder: String) throws(HostDaemonError) {
        let path = "\(folder)/\(name)\(Self.suffix)"
        do {
            try JSONEncoder.contract.encode(self).write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw HostDaemonError(.system, "\(path) cannot be written: \(error.localizedDescription)", cause: error)
        }
    }

    static func remove(_ name: String, from folder: String) { unlink("\(folder)/\(name)\(suffix)") }

    /// All records in a folder.
    static func all(in folder: String) throws(HostDaemonError) -> [SessionRecord] {
        let files: [String]
        do {
            files = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(suffix) }.sorted()
        } catch {
            throw HostDaemonError(.system, "the records of an earlier daemon in \(folder) cannot be read", cause: error)
        }
        var records: [SessionRecord] = []
        for file in files { records.append(try read("\(folder)/\(file)")) }
        return records
    }

    private static func read(_ path: String) throws(HostDaemonError) -> SessionRecord {
        do {
            return try JSONDecoder().decode(SessionRecord.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw HostDaemonError(
                .system,
                "\(path), which an earlier daemon left about a machine whose output may be held back, cannot be read: end that machine's QEMU, then remove the file",
                cause: error)
        }
    }

    /// Whether the very process of this record still lives.
    var processIsAlive: Bool { Self.startTime(of: processID) == processStartTime }

    /// The start time of a living process; nil when there is none of that number.
    static func startTime(of processID: Int32) -> UInt64? {
        guard let stat = try? String(contentsOfFile: "/proc/\(processID)/stat", encoding: .utf8), let end = stat.lastIndex(of: ")") else {
            return nil
        }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        // Field 22 of proc(5), the 20th after the command's name; field 3 is the state.
        return fields.count > 19 && fields[0] != "Z" ? UInt64(fields[19]) : nil
    }
}
