import Foundation
import Testing

/// `docs/machines.md` promises that every cell of its tables has a test behind it.
@Suite struct DocumentedMachinesTests {
    private let root = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../..").standardized

    @Test func everyTestThatTheTableOfMachinesNamesExists() throws {
        let document = try String(contentsOf: root.appendingPathComponent("docs/machines.md"), encoding: .utf8)
        let tests = root.appendingPathComponent("Tests").path
        let files = try FileManager.default.subpathsOfDirectory(atPath: tests).filter { $0.hasSuffix("Tests.swift") }
        var suites: [String: String] = [:]
        for file in files {
            let suite = String((file.split(separator: "/").last ?? "").dropLast(".swift".count))
            suites[suite] = try String(contentsOfFile: "\(tests)/\(file)", encoding: .utf8)
        }
        // Between backquotes: a suite of tests, with or without one of its tests behind a slash.
        let named = document.matches(of: /`([A-Za-z0-9]+Tests)(\/[A-Za-z0-9]+)?`/)
        #expect(named.count > 40)
        for match in named {
            let suite = try #require(suites[String(match.1)], "\(match.0)")
            if let test = match.2 { #expect(suite.contains("func \(test.dropFirst())("), "\(match.0)") }
        }
    }

    @Test func noCellIsEmpty() throws {
        let document = try String(contentsOf: root.appendingPathComponent("docs/machines.md"), encoding: .utf8)
        for row in document.split(separator: "\n") where row.hasPrefix("|") && !row.hasPrefix("|---") {
            let cells = row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            #expect(cells.count == 3 && cells.allSatisfy { !$0.isEmpty }, "\(row)")
        }
    }
}
