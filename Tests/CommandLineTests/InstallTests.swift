import Foundation
import Glibc
import Testing

/// What the tests of an installation need.
enum Installable {
    /// The repository.
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .path

    /// Where the tests' own bundle lies, and the programs beside it.
    static let built: String? = {
        let bundle = Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }?.bundlePath ?? CommandLine.arguments[0]
        let folders = [bundle, "/proc/self/exe", CommandLine.arguments[0]].map {
            URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().path
        }
        return folders.first { folder in
            ["understudy", "understudyd", "understudy-guard", "understudy-inject"].allSatisfy {
                FileManager.default.isExecutableFile(atPath: "\(folder)/\($0)")
            }
        }
    }()

    static let isPossible = built != nil && access("/usr/bin/make", X_OK) == 0 && access("\(root)/Makefile", R_OK) == 0
}

/// What `make install` leaves, and whether it works where it lies.
@Suite(.serialized, .enabled(if: Installable.isPossible, "needs the built programs, make and the repository"))
struct InstallTests {
    private static let (root, built) = (Installable.root, Installable.built)

    private func withInstallation(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.path + "/understudy-install-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (status, said) = try Self.run(
            ["make", "-C", Self.root, "install", "DESTDIR=\(folder)", "PREFIX=/usr"], environment: ["UNDERSTUDY_BUILT": Self.built ?? ""])
        #expect(status == 0, "\(said)")
        try body(folder)
    }

    private static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> (status: Int32, said: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, said)
    }

    @Test func `everything lies at its place and the programs run from there`() throws {
        try withInstallation { folder in
            let expected = [
                "usr/bin/understudy", "usr/sbin/understudyd", "usr/libexec/understudy/understudy-inject",
                "usr/libexec/understudy/understudy-guard",
                "usr/lib/systemd/system/understudyd.service", "etc/understudy/understudyd.toml.example", "usr/share/man/man1/understudy.1",
                "usr/share/man/man8/understudyd.8", "usr/share/man/man5/understudyd.toml.5", "usr/share/doc/understudy/operations.md",
                "usr/share/bash-completion/completions/understudy", "usr/share/bash-completion/completions/understudyd",
                "usr/share/zsh/site-functions/_understudy", "usr/share/fish/vendor_completions.d/understudy.fish",
            ]
            for file in expected { #expect(FileManager.default.isReadableFile(atPath: "\(folder)/\(file)"), "\(file)") }
            #expect(!FileManager.default.fileExists(atPath: "\(folder)/etc/understudy/understudyd.toml"))
            for program in ["usr/bin/understudy", "usr/sbin/understudyd"] {
                let (status, said) = try Self.run(["\(folder)/\(program)", "--version"])
                #expect(status == 0 && said.contains("0."), "\(program): \(said)")
            }
            // Swift's runtime comes along: whatever the programs take from the toolchain has a copy beside them.
            let (_, libraries) = try Self.run(["ldd", "\(folder)/usr/libexec/understudy/understudyd"])
            for line in libraries.split(separator: "\n") where line.contains("/swift/linux/") {
                let name = line.trimmingCharacters(in: .whitespaces).prefix { $0 != " " }
                #expect(FileManager.default.fileExists(atPath: "\(folder)/usr/libexec/understudy/\(name)"), "\(name)")
            }
        }
    }

    @Test func `the example configuration is accepted but for its files, and names every table`() throws {
        try withInstallation { folder in
            let (status, said) = try Self.run(
                ["\(folder)/usr/sbin/understudyd", "--check-config", "--config", "\(folder)/etc/understudy/understudyd.toml.example"])
            #expect(status == 78 && said.contains("the TLS file /etc/understudy/authority.pem is missing"), "\(said)")
        }
    }

    @Test(.enabled(if: access("/usr/bin/systemd-analyze", X_OK) == 0, "needs systemd-analyze"))
    func `systemd finds nothing wrong with the unit, and something with a spoilt one`() throws {
        try withInstallation { folder in
            let installed = try String(contentsOfFile: "\(folder)/usr/lib/systemd/system/understudyd.service", encoding: .utf8)
            #expect(installed.contains("ExecStart=/usr/sbin/understudyd\n") && !installed.contains("@"))
            for setting in ["Type=notify", "KillMode=process", "RuntimeDirectoryPreserve=yes"] {
                #expect(installed.contains("\n\(setting)\n"))
            }
            let unit = "\(folder)/understudyd.service"
            let moved = installed.replacing("/usr/sbin/understudyd", with: "\(folder)/usr/sbin/understudyd")
            try moved.write(toFile: unit, atomically: true, encoding: .utf8)
            let (status, said) = try Self.run(["systemd-analyze", "verify", "--man=no", unit])
            #expect(status == 0 && said.isEmpty, "\(said)")
            try (moved + "\n[Service]\nKillMode=sometimes\n").write(toFile: unit, atomically: true, encoding: .utf8)
            #expect(try !Self.run(["systemd-analyze", "verify", "--man=no", unit]).said.isEmpty)
        }
    }

    @Test(.enabled(if: access("/usr/bin/man", X_OK) == 0, "needs man"), arguments: ["understudy.1", "understudyd.8", "understudyd.toml.5"])
    func `a man page is set without a warning`(_ page: String) throws {
        let (status, said) = try Self.run(["sh", "-c", "man --warnings=w -l '\(Self.root)/man/\(page)' 2>&1 >/dev/null"])
        #expect(status == 0 && said.isEmpty, "\(said)")
    }

    @Test func `every command and option of the help is in the man page`() throws {
        for (program, page, commands) in [
            (
                "understudy", "understudy.1",
                [
                    "", "check", "protect", "unprotect", "set", "status", "events", "wait", "pki init", "pki issue", "pki show",
                    "switchover",
                    "vm list", "vm start", "vm stop", "vm remove", "demo", "bench",
                ]
            ),
            ("understudyd", "understudyd.8", [""]),
        ] {
            let manual = try String(contentsOfFile: "\(Self.root)/man/\(page)", encoding: .utf8).replacing("\\-", with: "-")
            for command in commands {
                let (status, help) = try Self.run(
                    ["\(Self.built ?? "")/\(program)"] + command.split(separator: " ").map(String.init) + ["--help"])
                #expect(status == 0 && (command.isEmpty || manual.contains(command)), "\(program) \(command)")
                for option in help.matches(of: /--[a-z][a-z\-]+/).map({ String($0.0) }) where !["--help", "--version"].contains(option) {
                    #expect(manual.contains(option), "\(program) \(command) \(option)")
                }
            }
            let (_, help) = try Self.run(["\(Self.built ?? "")/\(program)", "--help"])
            let listed =
                help.components(separatedBy: "SUBCOMMANDS:").dropFirst().first?.matches(of: #/\n {2}([a-z]+) /#).map { String($0.1) } ?? []
            for command in listed where command != "help" {
                #expect(commands.contains { $0.hasPrefix(command) }, "\(command) is not covered")
            }
        }
    }
}
