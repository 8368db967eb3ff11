internal import Foundation

/// Folders that are the daemon's own.
enum PrivateFolder {
    /// Makes a folder and those above it, for its owner alone unless `mode` says otherwise.
    ///
    /// - Parameter anew: what it holds already goes.
    static func make(_ path: String, mode: Int = 0o700, anew: Bool = false) throws(HostDaemonError) {
        do {
            if anew, FileManager.default.fileExists(atPath: path) { try FileManager.default.removeItem(atPath: path) }
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: mode])
        } catch {
            throw HostDaemonError(.system, "the folder \(path) cannot be made: \(error.localizedDescription)", cause: error)
        }
    }

    /// Makes the folder in which a file shall lie.
    static func make(above file: String) throws(HostDaemonError) { try make((file as NSString).deletingLastPathComponent) }
}
