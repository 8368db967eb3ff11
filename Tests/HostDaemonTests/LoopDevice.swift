import Foundation
import Glibc

@testable import HostDaemon

/// A block device over a file of its own.
final class LoopDevice {
    static let program = "/usr/sbin/losetup"
    static var canRun: Bool { geteuid() == 0 && FileManager.default.isExecutableFile(atPath: program) }

    let path: String
    private let file = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-loop-\(UUID().uuidString)").path

    init(byteCount: Int, sectorBytes: Int = 512) throws {
        _ = FileManager.default.createFile(atPath: file, contents: nil)
        guard truncate(file, byteCount) == 0 else { throw HostDaemonError(.system, "no file for a loop device: errno \(errno)") }
        path = try Self.run("--find", "--show", "--sector-size", "\(sectorBytes)", file)
    }

    deinit {
        _ = try? Self.run("--detach", path)
        unlink(file)
    }

    private static func run(_ arguments: String...) throws -> String {
        let (process, output) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw HostDaemonError(.system, "losetup failed (\(process.terminationStatus))") }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
