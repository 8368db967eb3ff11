import Foundation
import Glibc
import Testing

/// What `scripts/run-tests` makes of what Swift Testing says, with a `swift` of the test's own that says it.
@Suite struct RunTestsTests {
    private static let script = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../scripts/run-tests").standardized.path

    /// One call of `swift test`: its log and its exit code.
    private typealias Call = (log: String, status: Int)

    private static let flaky = "\"of two (or more) [at once], one wins\""
    private static let good: Call = (
        "✔ Test other() passed after 0.1 seconds.\n✔ Test run with 1 test in 1 suite passed after 1 second.", 0
    )

    private static func failing(_ name: String, _ issue: String) -> Call {
        let log = """
            ◇ Test run started.
            ✔ Test other() passed after 0.1 seconds.
            ➜ Test without() skipped: "needs more"
            ✘ Test \(name) recorded an issue at A.swift:12:6: \(issue)
            ↳ more about it
            ✘ Test \(name) failed after 2.5 seconds with 1 issue.
            ✘ Suite Others failed after 3.0 seconds with 1 issue.
            ✘ Test run with 3 tests in 1 suite failed after 3.0 seconds with 1 issue.
            """
        return (log, 1)
    }

    private static func passing(_ name: String) -> Call {
        ("✔ Test \(name) passed after 1.0 seconds.\n✔ Test run with 1 test in 1 suite passed after 1.0 seconds.", 0)
    }

    /// Runs a part of the tests with a `swift` that plays the calls one after the other.
    private func run(_ part: String, _ calls: [Call]) throws -> (status: Int32, output: String, arguments: [String]) {
        let folder = FileManager.default.temporaryDirectory.path + "/understudy-runtests-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for (number, call) in calls.enumerated() {
            try call.log.appending("\n").write(toFile: "\(folder)/log\(number + 1)", atomically: true, encoding: .utf8)
            try "\(call.status)".write(toFile: "\(folder)/status\(number + 1)", atomically: true, encoding: .utf8)
        }
        let player = """
            #!/bin/bash
            echo "$*" >> '\(folder)/arguments'
            number=$(wc -l < '\(folder)/arguments')
            cat "\(folder)/log$number"
            exit "$(cat "\(folder)/status$number")"

            """
        for (name, text) in [("swift", player), ("promtool", "#!/bin/sh\n")] {
            try text.write(toFile: "\(folder)/\(name)", atomically: true, encoding: .utf8)
            chmod("\(folder)/\(name)", 0o755)
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.script)
        process.arguments = [part]
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        process.environment = ["PATH": "\(folder):\(path)", "UNDERSTUDY_QEMU_10": "/bin/true", "LC_ALL": "C.UTF-8"]
        let output = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        let arguments = try String(contentsOfFile: "\(folder)/arguments", encoding: .utf8).split(separator: "\n").map(String.init)
        return (process.terminationStatus, text, arguments)
    }

    private func lastLine(_ text: String) -> String { text.split(separator: "\n").last.map(String.init) ?? "" }

    @Test func `what passes is counted`() throws {
        let (status, output, arguments) = try run("parallel", [Self.good])
        #expect(status == 0 && lastLine(output) == "1 passed, 0 failed, 0 skipped" && arguments.count == 1, "\(output)")
        #expect(!output.contains("UNSTEADY"))
    }

    @Test func `a failed test that passes by itself is passed, and named with what it said`() throws {
        for (name, pattern) in [(Self.flaky, "[`/]of.two..or.more...at.once...one.wins"), ("flaky(_:)", "/flaky\\(")] {
            let (status, output, arguments) = try run("parallel", [Self.failing(name, "Expectation failed: 1 == 2"), Self.passing(name)])
            #expect(status == 0 && lastLine(output) == "2 passed, 0 failed, 1 skipped", "\(output)")
            #expect(output.contains("\nUNSTEADY: \(name)\n") && output.contains("A.swift:12:6: Expectation failed: 1 == 2"), "\(output)")
            #expect(arguments.count == 2 && arguments[1].hasSuffix("--no-parallel --filter \(pattern)"), "\(arguments)")
            let name = name.replacing("\"", with: "").replacing("(_:)", with: "(")
            let found = try Regex(pattern.replacing("\\(", with: "[(]")).firstMatch(in: "Some.Tests/\(name)")
            #expect(found != nil, "the filter finds the test")
        }
    }

    @Test func `a test that fails twice, or is not found again, is failed`() throws {
        let failure = Self.failing("flaky()", "Expectation failed: 1 == 2")
        let nothing: Call = ("✔ Test run with 0 tests in 0 suites passed after 0.0 seconds.", 0)
        for second in [failure, nothing] {
            let (status, output, _) = try run("hostile", [failure, second])
            #expect(status == 1 && lastLine(output) == "1 passed, 1 failed, 1 skipped" && !output.contains("UNSTEADY"), "\(output)")
        }
    }

    @Test func `a broken promise of a real guest is never tried again`() throws {
        let (status, output, arguments) = try run("survival", [Self.failing("takeover()", "Expectation failed: verdict.passed")])
        #expect(status == 1 && arguments.count == 1 && lastLine(output) == "1 passed, 1 failed, 1 skipped", "\(output)")
        #expect(output.contains("== what failed, again"))
    }

    @Test(arguments: ["the laboratory could not be set up: process: QEMU ended", "waited 60.0 s in vain for replies from the survivor"])
    func `an error that was thrown is tried again, but not beside a broken promise`(error: String) throws {
        let setUp = "Caught error: \(error)"
        let (status, output, _) = try run("survival", [Self.failing("takeover()", setUp), Self.passing("takeover()")])
        #expect(status == 0 && lastLine(output) == "2 passed, 0 failed, 1 skipped" && output.contains("UNSTEADY: takeover()"), "\(output)")
        var both = Self.failing("takeover()", setUp)
        both.log += "\n✘ Test takeover() recorded an issue with 1 argument x → 1 at A.swift:13:6: Expectation failed: 1 == 2"
        let (refused, said, arguments) = try run("survival", [both])
        #expect(refused == 1 && arguments.count == 1, "\(said)")
    }

    @Test func `a run that broke off, and one with many failures, is not tried again`() throws {
        var broken = Self.failing("flaky()", "Expectation failed: 1 == 2")
        broken.log = broken.log.split(separator: "\n").filter { !$0.contains("Test run with") }.joined(separator: "\n")
        var many = Self.good
        many.log = (0..<6).map { "✘ Test t\($0)() failed after 1.0 seconds with 1 issue." }.joined(separator: "\n")
        many.log += "\n✘ Test run with 6 tests in 1 suite failed after 3.0 seconds with 6 issues."
        many.status = 1
        for call in [broken, many, ("error: no such target", 1)] {
            let (status, output, arguments) = try run("parallel", [call])
            #expect(status == 1 && arguments.count == 1, "\(output)")
        }
    }
}
