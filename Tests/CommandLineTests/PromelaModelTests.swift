import Foundation
import Testing

/// The protocol once more in Promela, written apart from the Swift code, checked by spin.
@Suite struct PromelaModelTests {
    private static let model = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Model/protection.pml").path

    private static let reason: Comment = "needs the repository, spin and gcc (scripts/prepare installs them)"
    private static let canRun = ([model] + ["/usr/bin/spin", "/usr/bin/gcc"]).allSatisfy { FileManager.default.isReadableFile(atPath: $0) }

    /// The verifier's last words for the model with a mistake built in, 0 for none.
    private func verify(bug: Int) throws -> String {
        let folder = FileManager.default.temporaryDirectory.appending(path: "understudy-spin-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        _ = try run("/usr/bin/spin", ["-DBUG=\(bug)", "-a", Self.model], in: folder)
        _ = try run("/usr/bin/gcc", ["-O2", "-DSAFETY", "-w", "-o", "pan", "pan.c"], in: folder)
        return try run(folder.appending(path: "pan").path, ["-E", "-m1000000"], in: folder)
    }

    private func run(_ program: String, _ arguments: [String], in folder: URL) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = folder
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = try output.fileHandleForReading.readToEnd().map { String(decoding: $0, as: UTF8.self) } ?? ""
        process.waitUntilExit()
        return text
    }

    @Test(.enabled(if: canRun, reason))
    func `spin finds no way to break output commit, whole epochs or the one active guest`() throws {
        let words = try verify(bug: 0)
        #expect(words.contains("errors: 0") && !words.contains("max search depth too small"), "\(words)")
        let stored = words.firstMatch(of: /(\d+) states, stored/).flatMap { Int($0.1) }
        #expect(stored ?? 0 > 100_000, "\(words)")
    }

    @Test(.enabled(if: canRun, reason), arguments: [1, 2, 3])
    func `spin finds a mistake that was built in`(_ bug: Int) throws {
        let words = try verify(bug: bug)
        #expect(words.contains("errors: 1") && words.contains("assertion violated"), "\(words)")
    }
}
