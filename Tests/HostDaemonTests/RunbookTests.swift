import Foundation
import Testing

@testable import HostDaemon

/// The documents and the code name the same things.
@Suite struct RunbookTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let isThere = FileManager.default.fileExists(atPath: root.appending(path: "docs/operations.md").path)

    private static func text(_ path: String) throws -> String { try String(contentsOf: root.appending(path: path), encoding: .utf8) }

    /// Every kind of event that the sources record, with the levels below `info` left out: those reach the log only.
    private static func kinds() throws -> Set<String> {
        let sources = root.appending(path: "Sources")
        let files = FileManager.default.enumerator(atPath: sources.path)?.compactMap { $0 as? String } ?? []
        var kinds: Set<String> = []
        for file in files where file.hasSuffix(".swift") {
            let text = try String(contentsOf: sources.appending(path: file), encoding: .utf8)
            for match in text.matches(of: /(?:report|record)\(\s*"([a-z][a-z\-]*)",/) { kinds.insert(String(match.1)) }
        }
        return kinds.subtracting(["control", "stale", "ignored"])
    }

    @Test(.enabled(if: isThere, "needs the repository"))
    func `every kind of event has a section in the runbook that says what to do, and no section is left over`() throws {
        let kinds = try Self.kinds()
        #expect(kinds.count > 70)
        let sections = try Self.text("docs/operations.md").components(separatedBy: "\n#### `").dropFirst()
        let named = Set(sections.map { String($0.prefix { $0 != "`" }) })
        #expect(kinds.subtracting(named).sorted() == [])
        #expect(named.subtracting(kinds).sorted() == [])
        for section in sections { #expect(section.contains("\n*Do:* "), "\(section.prefix(40))") }
    }

    @Test(.enabled(if: isThere, "needs the repository"))
    func `every metric is in the manual`() throws {
        let manual = try Self.text("docs/operations.md")
        let source = try Self.text("Sources/HostDaemon/Metrics/HostMetrics.swift")
        let names = Set(source.matches(of: /"((?:understudy|process)_[a-z_]+)"/).map { String($0.1) })
        #expect(names.count > 20)
        for name in names.sorted() { #expect(manual.contains("`\(name)`"), "\(name)") }
    }

    @Test(.enabled(if: isThere, "needs the repository"))
    func `every key of the configuration is in the manual and in the man page`() throws {
        let source = try Self.text("Sources/HostDaemon/Configuration/DaemonConfiguration.swift")
        let renamed = source.matches(of: /= "([a-z]+-[a-z\-]+)"[,\n]/).map { String($0.1) }
        #expect(renamed.contains("detection-ms"))
        let keys = Set(
            renamed + ["name", "listen", "socket", "authority", "certificate", "key", "etcd", "folder", "control", "bridge", "append"])
        let (manual, page) = (try Self.text("docs/operations.md"), try Self.text("man/understudyd.toml.5"))
        for key in keys.sorted() {
            #expect(manual.contains(key), "\(key) in docs/operations.md")
            #expect(page.contains(key.replacing("-", with: "\\-")), "\(key) in the man page")
        }
    }
}
