import Foundation
import HostAPI
import Testing

@testable import HostDaemon

@Suite struct DaemonConfigurationTests {
    private let folder = FileManager.default.temporaryDirectory.path + "/understudy-configuration-\(UUID().uuidString)"

    /// A usable configuration with further lines before its tables and at its end.
    private func load(_ settings: String = "", tls: String = "", tail: String = "") throws -> DaemonConfiguration {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = "\(folder)/understudyd.toml"
        let text = """
            name = "a"
            \(settings)
            [tls]
            authority = "\(path)"
            certificate = "\(path)"
            key = "\(path)"
            \(tls)
            [arbiter]
            etcd = ["http://10.0.0.3:2379"]
            [[peers]]
            name = "b"
            control = "10.0.0.2:7640"
            checkpoint = "10.0.0.2:7641"
            \(tail)
            """
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return try DaemonConfiguration.load(path: path)
    }

    private func message(_ body: () throws -> DaemonConfiguration) -> String {
        do {
            _ = try body()
            return "accepted"
        } catch {
            return "\(error)"
        }
    }

    @Test func `defaults are those of the manual`() throws {
        let configuration = try load()
        #expect(configuration.listen == "0.0.0.0:7640")
        #expect(configuration.checkpointListen == "0.0.0.0:7641")
        #expect(configuration.socket == "/run/understudy/understudyd.sock")
        #expect(configuration.stateFolder == "/var/lib/understudy")
        #expect(configuration.detectionMilliseconds == 150)
        #expect(configuration.stagingMebibytes == 256)
        #expect(configuration.outputMebibytes == 64)
        #expect(configuration.copyThreads == 2)
    }

    @Test func `a length of time may be written without a point`() throws {
        #expect(try load("detection-ms = 300").detectionMilliseconds == 300)
        #expect(try load("detection-ms = 300.5").detectionMilliseconds == 300.5)
        #expect(try load("detection-ms = 300").longestSilenceMilliseconds == 1200)
        #expect(try load("detection-max-ms = 150").longestSilenceMilliseconds == 150)
    }

    @Test func `every key of the manual is accepted`() throws {
        let configuration = try load(
            """
            listen = "10.0.0.1:7640"
            checkpoint-listen = "10.0.0.1:7641"
            state-folder = "/var/lib/understudy"
            runtime-folder = "/run/understudy"
            socket = "/run/understudy/understudyd.sock"
            detection-ms = 150
            staging-mib = 256
            output-mib = 64
            copy-threads = 2
            """,
            tail: """
                [standby]
                bridge = "br1"
                append = ["-name", "standby"]
                output-files = "runtime-folder"
                [standby.paths]
                "/images/a.iso" = "/mirror/a.iso"
                [standby.taps]
                "tap0" = "tap9"
                [standby.bridges]
                "br0" = "br7"
                [standby.netdevs]
                net1 = "stream,server=off,addr.type=unix,addr.path=/run/switch.sock"
                """)
        #expect(configuration.standby.netdevs == ["net1": "stream,server=off,addr.type=unix,addr.path=/run/switch.sock"])
        #expect(configuration.standby.bridge == "br1")
        #expect(configuration.standby.paths == ["/images/a.iso": "/mirror/a.iso"])
        #expect(configuration.standby.taps == ["tap0": "tap9"])
        #expect(configuration.standby.bridges == ["br0": "br7"])
    }

    @Test func `a lost backup is replaced by itself unless the operator wants otherwise, and only by a host that is known`() throws {
        let standard = try load()
        #expect(standard.reprotect == .automatic && standard.backups.isEmpty)
        #expect(standard.backupCandidates(before: "b") == ["b"])
        #expect(standard.backupCandidates(before: "gone") == [])
        #expect(try load("reprotect = \"manual\"").reprotect == .manual)
        #expect(message { try load("reprotect = \"never\"") }.contains("reprotect: must be \"automatic\" or \"manual\""))
        #expect(message { try load("backups = [\"x\"]") }.contains("`backups` names x"))
        #expect(message { try load("backups = [\"b\", \"b\"]") }.contains("twice"))
        let third = "[[peers]]\nname = \"c\"\ncontrol = \"10.0.0.4:7640\"\ncheckpoint = \"10.0.0.4:7641\""
        let listed = try load("backups = [\"c\", \"b\"]", tail: third)
        #expect(listed.backupCandidates(before: "b") == ["b", "c"], "what a host holds already saves the copy")
        #expect(listed.backupCandidates(before: "a") == ["c", "b"])
    }

    @Test func `compression is automatic with room for the whole guest, unless the table says otherwise`() throws {
        #expect(try load().checkpoint == CheckpointSettings())
        #expect(try load().checkpoint.compression == .auto && load().checkpoint.referenceMebibytes == nil)
        let told = try load(tail: "[checkpoint]\ncompression = \"zstd\"\nreference-mib = 0").checkpoint
        #expect(told.compression == .zstd && told.referenceMebibytes == 0)
        #expect(message { try load(tail: "[checkpoint]\ncompression = \"gzip\"") }.contains("\"lz4\""))
        #expect(message { try load(tail: "[checkpoint]\nreference-mib = -1") }.contains("`checkpoint.reference-mib`"))
        #expect(message { try load(tail: "[checkpoint]\nreference = 1") }.contains("unknown key `checkpoint.reference`"))
    }

    @Test func `a misspelt key is named wherever it stands`() {
        #expect(message { try load("detection-msec = 3") }.contains("unknown key `detection-msec`"))
        #expect(message { try load(tls: "autority = \"x\"") }.contains("unknown key `tls.autority`"))
        #expect(message { try load(tail: "address = \"x\"") }.contains("unknown key `peers.address`"))
        #expect(message { try load(tail: "[standby]\nbrdge = \"x\"") }.contains("unknown key `standby.brdge`"))
    }

    @Test func `the rate of the copy of disks has a limit only when one is named`() throws {
        #expect(try load().disks.copyMebibytes == 0)
        #expect(try load(tail: "[disks]\ncopy-mib-per-second = 50").disks.copyMebibytes == 50)
        #expect(message { try load(tail: "[disks]\ncopy-mib-per-second = -1") }.contains("`disks.copy-mib-per-second`"))
    }

    @Test func `a missing key and a value of the wrong type are named`() {
        #expect(message { try load("copy-threads = \"2\"") }.contains("the key `copy-threads` is missing or has a value of the wrong type"))
        #expect(message { try load("detection-ms = \"2\"") }.contains("the key `detection-ms` is missing or has a value of the wrong type"))
        #expect(message { try load(tail: "[[peers]]\nname = \"c\"") }.contains("control` is missing"))
    }

    @Test(arguments: [
        "clock-step-ms = 5", "detection-max-ms = 100", "detection-ms = nan", "detection-ms = inf", "detection-ms = 1",
        "staging-mib = 9999999",
        "copy-threads = 0", "listen = \"x\"",
    ])
    func `an impossible value is refused with its key`(_ line: String) {
        let key = line.prefix { $0 != " " }
        #expect(message { try load(line) }.contains("`\(key)`"))
    }
}
