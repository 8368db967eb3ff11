import Arbiter
import Foundation
import Logging
import Testing
import UnderstudyCore

@testable import HostDaemon

@Suite struct MachineDefinitionTests {
    private func message(_ text: String) -> String {
        do {
            _ = try MachineDefinition.parse(text, place: "web.toml")
            return "accepted"
        } catch {
            return error.message
        }
    }

    @Test func `a definition is the user's own arguments and little else`() throws {
        let definition = try MachineDefinition.parse(
            """
            name = "web"
            arguments = ["-m", "1G"]
            backup = "beta"
            interval-ms = 50
            autostart = true
            """, place: "web.toml")
        #expect(definition.qemu == "qemu-system-x86_64")
        #expect(definition.arguments == ["-m", "1G"])
        #expect(definition.backup == "beta")
        #expect(definition.intervalMilliseconds == 50)
        #expect(definition.autostart)
        let short = try MachineDefinition.parse("name = \"web\"\narguments = []", place: "web.toml")
        #expect(short.intervalMilliseconds == 0 && short.backup == nil && !short.autostart && short.settleSeconds == 10)
    }

    @Test func `what is wrong is named`() {
        #expect(message("arguments = []").contains("`name`"))
        #expect(message("name = \"web\"").contains("`arguments`"))
        #expect(message("name = \"a/b\"\narguments = []").contains("letters"))
        #expect(message("name = \"web\"\narguments = []\nmemory = 3").contains("unknown key `memory`"))
        #expect(message("name = \"web\"\narguments = [\"-daemonize\"]").contains("-daemonize"))
        #expect(message("name = \"web\"\narguments = [\"--incoming\", \"defer\"]").contains("-incoming"))
        #expect(message("name = \"web\"\narguments = []\ninterval-ms = 1").contains("interval-ms"))
        #expect(message("name = \"web\"\narguments = []\nsettle-s = -1").contains("settle-s"))
        #expect(message("name = ").contains("web.toml"))
    }

    @Test func `a kept definition is found again in its own words, readable by root only`() throws {
        let folder = FileManager.default.temporaryDirectory.path + "/understudy-definitions-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let store = DefinitionStore(stateFolder: folder)
        #expect(try store.names().isEmpty)
        let text = "# mine\nname = \"web\"\narguments = []\n"
        try store.save(text, name: "web")
        #expect(try store.names() == ["web"])
        #expect(try store.load("web")?.name == "web")
        #expect(try store.load("../machines/web") == nil)
        let path = "\(folder)/machines/web.toml"
        #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
        #expect(try store.remove("web"))
        #expect(try !store.remove("web"))
    }
}

/// Two hosts with one definition: the arbiter's record keeps the machine from running on both.
@Suite struct MachineClaimTests {
    private let key = HostContext.key(of: "web")

    private func code(_ body: () throws(HostDaemonError) -> Void) -> HostDaemonError.Code? {
        do throws(HostDaemonError) {
            try body()
            return nil
        } catch {
            return error.code
        }
    }

    private func withClaims(_ body: (FileArbiter, MachineClaim, MachineClaim) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.path + "/understudy-claims-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let arbiter = try FileArbiter(folder: folder)
        let events = EventLog(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try body(
            arbiter, MachineClaim(host: "alpha", arbiter: arbiter, events: events),
            MachineClaim(host: "beta", arbiter: arbiter, events: events))
    }

    @Test func `one host has a machine until it gives it back`() throws {
        try withClaims { arbiter, alpha, beta in
            try alpha.take("web", discard: false)
            #expect(code { () throws(HostDaemonError) in try beta.take("web", discard: false) } == .elsewhere)
            #expect(code { () throws(HostDaemonError) in try beta.take("web", discard: true) } == .elsewhere)
            try beta.release("web")
            #expect(try arbiter.read(key: key)?.owner == "alpha")
            try alpha.take("web", discard: false)
            try alpha.release("web")
            #expect(try arbiter.read(key: key) == nil)
            try beta.take("web", discard: false)
        }
    }

    @Test func `a checkpoint that a backup may hold is given up on request only`() throws {
        try withClaims { arbiter, alpha, _ in
            try alpha.take("web", discard: false)
            let own = try #require(try arbiter.read(key: key))
            let permit = ArbiterProposal.permitBackup("beta", current: own, nonce: "session")
            #expect(arbiter.compareAndSet(key: key, proposal: permit, timeout: 60_000_000_000) == .won(permit.proposed))
            let session = try #require(permit.proposed)
            try alpha.release("web")
            #expect(try arbiter.read(key: key) == session)
            #expect(code { () throws(HostDaemonError) in try alpha.take("web", discard: false) } == .refused)
            try alpha.take("web", discard: true)
            let late = ArbiterProposal.takeOver(committed: session, by: "beta", nonce: "late")
            #expect(arbiter.compareAndSet(key: key, proposal: late, timeout: 60_000_000_000) != .won(late.proposed))
        }
    }
}
