import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// What a monitoring system sees of a protected machine, before and after its host's death.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct MetricsTests {
    private static let port = 7642

    @Test func aProtectedMachineIsSeenInTheMetricsAndATakeoverIsCounted() throws {
        let pair = try ProtectedLab(settings: "metrics = { listen = \"127.0.0.1:\(Self.port)\" }\n" + ProtectedLab.patient)
        try pair.protect()
        try pair.awaitEpochs(20)
        let machine = "machine=\"\(ProtectedLab.machine)\""
        let first = try Self.get("/metrics", on: pair.lab.host1)
        #expect(first.status == 200)
        #expect(Self.value("understudy_machine_protected{\(machine),role=\"primary\"}", first.body) == 1)
        #expect(Self.value("understudy_machine_state{\(machine),role=\"primary\",state=\"protected\"}", first.body) == 1)
        #expect(Self.value("understudy_arbiter_reachable", first.body) == 1)
        let names = [
            "checkpoints_total", "sent_bytes_total", "pause_seconds_count", "commit_seconds_count", "epoch_seconds_count",
            "dirty_pages_count",
        ]
        for name in names {
            let value = Self.value("understudy_machine_\(name){\(machine),role=\"primary\"}", first.body)
            #expect(value.map { $0 > 10 } == true, "\(name): \(String(describing: value))")
        }
        let series = "understudy_machine_committed_epoch{\(machine),role=\"primary\"}"
        let epoch = try #require(Self.value(series, first.body))
        try pair.wait(seconds: 60, for: "further epochs") { (pair.status(.first)?.epoch).map { Double($0) > epoch } == true }
        let later = try Self.get("/metrics", on: pair.lab.host1)
        #expect(try #require(Self.value(series, later.body)) > epoch)
        let backup = try Self.get("/metrics", on: pair.lab.host2)
        #expect(Self.value("understudy_machine_protected{\(machine),role=\"backup\"}", backup.body) == 1)
        for path in ["/livez", "/readyz"] {
            let health = try Self.get(path, on: pair.lab.host1)
            #expect(health.status == 200, "\(health.body)")
        }
        try Self.examine([first.body, later.body, backup.body])

        try pair.killFirstHost()
        try pair.wait(seconds: 60, for: "the takeover") { pair.status(.second)?.state == .unprotected }
        let survivor = try Self.get("/metrics", on: pair.lab.host2)
        #expect(Self.value("understudy_takeovers_total{\(machine)}", survivor.body) == 1)
        #expect(Self.value("understudy_machine_protected{\(machine),role=\"primary\"}", survivor.body) == 0)
        #expect(Self.value("understudy_events_total{kind=\"takeover\"}", survivor.body) == 1)
        try Self.examine([survivor.body])
    }

    @Test func aHostWhoseArbiterIsSilentIsAliveAndNotReady() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        let arbiter = try lab.startArbiter()
        arbiter.end()
        _ = try LabDaemons.start(in: lab, program: Requirements.daemon, settings: "metrics = { listen = \"127.0.0.1:\(Self.port)\" }")
        let end = MonotonicTime.now() + 20_000_000_000
        var ready = try Self.get("/readyz", on: lab.host1)
        while ready.body.contains("was not asked yet"), MonotonicTime.now() < end { ready = try Self.get("/readyz", on: lab.host1) }
        #expect(ready.status == 503 && ready.body.contains("[-]arbiter") && ready.body.contains("[+]certificates ok"), "\(ready.body)")
        #expect(try Self.get("/livez", on: lab.host1).status == 200)
        #expect(Self.value("understudy_arbiter_reachable", try Self.get("/metrics", on: lab.host1).body) == 0)
        #expect(Self.value("understudy_events_total{kind=\"arbiter-silent\"}", try Self.get("/metrics", on: lab.host1).body) == 1)
    }

    private static func value(_ series: String, _ text: String) -> Double? {
        text.split(separator: "\n").first { $0.hasPrefix(series + " ") }.flatMap { Double($0.dropFirst(series.count + 1)) }
    }

    private static func get(_ path: String, on host: LabHost) throws -> (status: Int, body: String) {
        let answer: String = try host.run { () throws(DemonstrationError) in
            let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            let connected = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            guard connected == 0 else { throw DemonstrationError(.network, "nobody answers at port \(port) of \(host.name)") }
            let request = Array("GET \(path) HTTP/1.1\r\nhost: \(host.name)\r\n\r\n".utf8)
            _ = send(descriptor, request, request.count, CInt(MSG_NOSIGNAL))
            var bytes: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 16_384)
            while true {
                let count = recv(descriptor, &chunk, chunk.count, 0)
                guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
                bytes += chunk[..<count]
            }
        }
        let parts = answer.components(separatedBy: "\r\n\r\n")
        let status = answer.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        return (try #require(status), parts.dropFirst().joined(separator: "\r\n\r\n"))
    }

    /// By Prometheus's own tool, where it is.
    private static func examine(_ texts: [String]) throws {
        let environment = ProcessInfo.processInfo.environment
        let cache = environment["UNDERSTUDY_CACHE"] ?? "\(environment["XDG_CACHE_HOME"] ?? "\(NSHomeDirectory())/.cache")/understudy"
        guard FileManager.default.isExecutableFile(atPath: "\(cache)/promtool") else { return }
        for text in texts {
            let file = FileManager.default.temporaryDirectory.appending(path: "understudy-metrics-\(UUID().uuidString)")
            try Data(text.utf8).write(to: file)
            defer { try? FileManager.default.removeItem(at: file) }
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments = ["-c", "'\(cache)/promtool' check metrics <'\(file.path)' 2>&1"]
            let output = Pipe()
            process.standardOutput = output
            try process.run()
            let said = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            #expect(process.terminationStatus == 0 && said.isEmpty, "\(said)")
        }
    }
}
