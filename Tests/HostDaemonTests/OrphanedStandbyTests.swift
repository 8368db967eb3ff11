import Foundation
import Glibc
import Testing

@testable import HostDaemon

@Suite(.enabled(if: access("/usr/bin/qemu-system-x86_64", X_OK) == 0, "needs QEMU"))
struct OrphanedStandbyTests {
    private let folder = FileManager.default.temporaryDirectory.path + "/understudy-orphan-\(UUID().uuidString)"

    private func launch(_ name: String, _ options: [String]) throws -> Process {
        try FileManager.default.createDirectory(atPath: "\(folder)/\(name).standby", withIntermediateDirectories: true)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/qemu-system-x86_64")
        let socket = "\(folder)/\(name).standby/standby.qmp"
        process.arguments =
            ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "unix:\(socket),server=on,wait=off"] + options
        process.standardInput = FileHandle.nullDevice
        try process.run()
        for _ in 0..<6000 where !FileManager.default.fileExists(atPath: socket) { usleep(10_000) }
        return process
    }

    @Test func `a standby that waits for a stream that never comes is ended, a guest that runs is not`() throws {
        let orphan = try launch("web", ["-S", "-incoming", "defer"])
        let guest = try launch("db", [])
        defer {
            for process in [orphan, guest] where process.isRunning { kill(process.processIdentifier, SIGKILL) }
            guest.waitUntilExit()
            try? FileManager.default.removeItem(atPath: folder)
        }
        #expect(try OrphanedStandby.endAll(in: folder) == ["web.standby/standby"])
        orphan.waitUntilExit()
        #expect(guest.isRunning)
        #expect(try OrphanedStandby.endAll(in: folder).isEmpty)
    }
}
