internal import Foundation
internal import QMP

/// A QEMU that a daemon had launched and not yet given its stream when it died: nobody feeds it, nothing else ends it, and its tap keeps the
/// next standby of that name from starting. One that had its stream ends with it.
enum OrphanedStandby {
    static let folderSuffix = ".standby"

    /// Where a machine's standby has its files.
    static func folder(of machine: String, in runtimeFolder: String) -> String { "\(runtimeFolder)/\(machine)\(folderSuffix)" }

    /// Ends those that lie in a runtime folder. To be called before peers are heard: a standby that waits is then nobody's.
    ///
    /// - Returns: the folders of those that were ended.
    static func endAll(in runtimeFolder: String) throws(HostDaemonError) -> [String] {
        let folders: [String]
        do {
            folders = try FileManager.default.contentsOfDirectory(atPath: runtimeFolder).filter { $0.hasSuffix(folderSuffix) }.sorted()
        } catch {
            throw HostDaemonError(.system, "the folder \(runtimeFolder) cannot be read: \(error.localizedDescription)", cause: error)
        }
        return folders.flatMap { folder in
            ["standby", "rehearsal"].filter { ends("\(runtimeFolder)/\(folder)/\($0).qmp") }.map { "\(folder)/\($0)" }
        }
    }

    /// Tells the QEMU behind a socket to quit if it waits for a stream; a guest that was taken over does not.
    private static func ends(_ socket: String) -> Bool {
        guard FileManager.default.fileExists(atPath: socket) else { return false }
        do throws(QMPError) {
            let monitor = try QMPClient(socketPath: socket)
            defer { monitor.close() }
            guard try monitor.execute("query-status", timeout: .seconds(2))["status"]?.string == "inmigrate" else { return false }
            try monitor.execute("quit", timeout: .seconds(2))
            return true
        } catch {
            // It ended with its stream, or ends right now.
            return false
        }
    }
}
