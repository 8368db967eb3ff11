internal import Foundation
internal import Glibc
internal import UnderstudyCore

/// What a backup's daemon leaves beside a standby, so that the next daemon can finish a takeover in which this one dies.
struct TakeoverNote: Codable, Sendable {
    var name: String
    /// The host that runs the machine while the standby waits.
    var formerPrimary: String
    /// The record under which the standby waits.
    var session: ArbiterRecord
    var processID: Int32
    /// As in ``SessionRecord``.
    var processStartTime: UInt64
    var qmp: String
    var taps: [String]
    var version: String
    /// The images of its disks; nil in a note of a daemon that did not name them.
    var disks: [String]?
    /// Both hosts see these images; nil means no.
    var sharedDisks: Bool?
    /// The images of the host that runs the machine while the standby waits.
    var formerDisks: FormerDisks?

    private static let file = "takeover.json"
    /// There until the guest may run: taking it away needs no room on the disk.
    private static let waitingFile = "never-ran"

    func write(to folder: String) throws(HostDaemonError) {
        do {
            try Data().write(to: URL(fileURLWithPath: "\(folder)/\(Self.waitingFile)"))
            try JSONEncoder.contract.encode(self).write(to: URL(fileURLWithPath: "\(folder)/\(Self.file)"), options: .atomic)
        } catch {
            throw HostDaemonError(.system, "\(folder)/\(Self.file) cannot be written: \(error.localizedDescription)", cause: error)
        }
    }

    /// Notes that the guest may run from now on: a later daemon that finds no process must not hand the machine back.
    static func guestMayRun(_ folder: String) throws(HostDaemonError) {
        guard unlink("\(folder)/\(waitingFile)") == 0 || errno == ENOENT else {
            throw HostDaemonError(.system, "\(folder)/\(waitingFile) cannot be removed: \(String(cString: strerror(errno)))")
        }
    }

    static func remove(from folder: String) {
        unlink("\(folder)/\(file)")
        unlink("\(folder)/\(waitingFile)")
    }

    /// The notes in a runtime folder, with the standbys' folders.
    static func all(in runtimeFolder: String) throws(HostDaemonError) -> [(note: TakeoverNote, folder: String)] {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: runtimeFolder)
        } catch {
            throw HostDaemonError(.system, "the folder \(runtimeFolder) cannot be read: \(error.localizedDescription)", cause: error)
        }
        var notes: [(note: TakeoverNote, folder: String)] = []
        for name in names.sorted() where name.hasSuffix(OrphanedStandby.folderSuffix) {
            let folder = "\(runtimeFolder)/\(name)"
            guard FileManager.default.fileExists(atPath: "\(folder)/\(file)") else { continue }
            do {
                let note = try JSONDecoder().decode(TakeoverNote.self, from: Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(file)")))
                notes.append((note, folder))
            } catch {
                throw HostDaemonError(
                    .system,
                    "\(folder)/\(file), which an earlier daemon left about a standby that may be the guest now, cannot be read: look at that QEMU and at the arbiter's record, then remove the file",
                    cause: error)
            }
        }
        return notes
    }

    var processIsAlive: Bool { SessionRecord.startTime(of: processID) == processStartTime }

    /// Whether the guest cannot have run in the noted process.
    static func neverRan(_ folder: String) -> Bool { access("\(folder)/\(waitingFile)", F_OK) == 0 }
}
