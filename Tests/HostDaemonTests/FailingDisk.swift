import Foundation
import Glibc

@testable import HostDaemon

/// Serves a disk image to QEMU and answers with errors at will (nbdkit and its filter `error`).
final class FailingDisk {
    static let program = "/usr/bin/nbdkit"
    static var canRun: Bool { MirroredMachine.canRun && FileManager.default.isExecutableFile(atPath: program) }

    private let server = Process()
    private var trigger = ""

    /// Begins to serve the image.
    ///
    /// - Returns: what QEMU is told in the place of the file.
    func serve(_ image: String) throws -> String {
        let socket = image + ".nbd"
        trigger = image + ".failing"
        server.executableURL = URL(fileURLWithPath: Self.program)
        server.arguments = ["-f", "-U", socket, "--filter=error", "file", image, "error=EIO", "error-rate=100%", "error-file=\(trigger)"]
        server.standardError = FileHandle.nullDevice
        try server.run()
        while !FileManager.default.fileExists(atPath: socket) {
            guard server.isRunning else { throw HostDaemonError(.system, "nbdkit did not start") }
            usleep(5_000)
        }
        return "file.driver=nbd,file.server.type=unix,file.server.path=\(socket)"
    }

    /// Whether every request ends in an error.
    func fail(_ isFailing: Bool) throws {
        if isFailing { try Data().write(to: URL(fileURLWithPath: trigger)) } else { unlink(trigger) }
    }

    deinit {
        guard server.isRunning else { return }
        kill(server.processIdentifier, SIGKILL)
        server.waitUntilExit()
    }
}
