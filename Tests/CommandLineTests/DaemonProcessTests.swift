import Foundation
import Glibc
import HostAPI
import HostCertificates
import Testing

/// The daemon as a process: what its supervisor and its operator see of its beginning and its end.
@Suite(.serialized, .enabled(if: Installable.isPossible && geteuid() == 0, "needs root and the built programs"))
struct DaemonProcessTests {
    private static let now = Int64(Date().timeIntervalSince1970)

    /// A folder with certificates and a configuration for a host that has no peers.
    private final class Bench {
        let folder = FileManager.default.temporaryDirectory.path + "/understudy-daemon-\(UUID().uuidString.prefix(8))"
        var configuration: String { "\(folder)/understudyd.toml" }
        var socket: String { "\(folder)/understudyd.sock" }

        /// - Parameter issued: when the certificates were made, for one day; seconds since 1970.
        init(issued: Int64, ports: [Int] = [7640, 7641]) throws {
            let authority = try CertificateAuthority.create(in: folder, days: 1, now: issued)
            _ = try authority.issue("alpha", days: 1, now: issued)
            try FileManager.default.createDirectory(atPath: "\(folder)/arbiter", withIntermediateDirectories: true)
            let text = """
                name = "alpha"
                listen = "127.0.0.1:\(ports[0])"
                checkpoint-listen = "127.0.0.1:\(ports[1])"
                runtime-folder = "\(folder)"
                state-folder = "\(folder)/state"
                [tls]
                authority = "\(folder)/authority.pem"
                certificate = "\(folder)/alpha.pem"
                key = "\(folder)/alpha.key"
                [arbiter]
                folder = "\(folder)/arbiter"
                """
            try text.write(toFile: configuration, atomically: true, encoding: .utf8)
        }

        deinit { try? FileManager.default.removeItem(atPath: folder) }

        func daemon(_ arguments: [String] = [], environment: [String: String] = [:]) throws -> (process: Process, output: Pipe) {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "\(Installable.built ?? "")/understudyd")
            process.arguments = ["--config", configuration] + arguments
            process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            let output = Pipe()
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = output
            process.standardError = output
            try process.run()
            return (process, output)
        }
    }

    @Test func `an expired certificate is refused with the configuration's exit code, a good one is not`() throws {
        for (issued, status, word) in [(Self.now - 10 * 86_400, 78 as Int32, "expired at"), (Self.now, 0, "usable; host `alpha`")] {
            let bench = try Bench(issued: issued)
            let (ended, said) = try Self.outcome(of: bench.daemon(["--check-config"]))
            #expect(ended == status && said.contains(word), "\(said)")
            withExtendedLifetime(bench) {}
        }
        let bench = try Bench(issued: Self.now - 10 * 86_400)
        let (ended, said) = try Self.outcome(of: bench.daemon())
        #expect(ended == 78 && said.contains("understudy pki i"), "\(said)")
        withExtendedLifetime(bench) {}
    }

    @Test func `the supervisor hears that it is ready, alive and stopping, and SIGTERM ends it in order`() throws {
        let supervisor = try Supervisor()
        let bench = try Bench(issued: Self.now, ports: try Self.freePorts(2))
        let (process, output) = try bench.daemon(environment: ["NOTIFY_SOCKET": supervisor.path, "WATCHDOG_USEC": "300000"])
        defer { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        try #require(supervisor.wait(for: "READY=1\nSTATUS=host alpha"), "it is not ready: \(process.isRunning)")
        #expect(supervisor.wait(for: "WATCHDOG=1") && supervisor.wait(for: "WATCHDOG=1"))
        guard case .status(let status) = try HostClient(socketPath: bench.socket).perform(.status) else {
            Issue.record("no status")
            return
        }
        #expect(status.certificates?.map(\.state) == ["expires-soon", "expires-soon"])
        process.terminate()
        #expect(supervisor.wait(for: "STOPPING=1\nSTATUS=understudyd ends; no protected guest runs on this host"))
        process.waitUntilExit()
        #expect(process.terminationReason == .exit && process.terminationStatus == 0)
        let log = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(log.contains("event=certificate-expires") && log.contains("event=stopping"), "\(log)")
    }

    private static func outcome(of daemon: (process: Process, output: Pipe)) -> (status: Int32, said: String) {
        let said = String(decoding: daemon.output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        daemon.process.waitUntilExit()
        return (daemon.process.terminationStatus, said)
    }

    /// Ports of the loopback address that nobody has, below those that the kernel gives to whoever asks for any port.
    private static func freePorts(_ count: Int) throws -> [Int] {
        var held: [CInt] = [], ports: [Int] = []
        defer { for descriptor in held { close(descriptor) } }
        for _ in 0..<10_000 where ports.count < count {
            let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
            held.append(descriptor)
            let port = UInt16.random(in: 15_000..<32_000)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = port.bigEndian
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            let result = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            if result == 0 { ports.append(Int(port)) }
        }
        try #require(ports.count == count)
        return ports
    }

    /// A datagram socket that stands for systemd's.
    private final class Supervisor {
        let path = FileManager.default.temporaryDirectory.path + "/us-\(UInt32.random(in: .min ... .max)).notify"
        private let descriptor: CInt

        init() throws {
            descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            let name = Array(path.utf8)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
            let bound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            try #require(bound == 0)
        }

        deinit {
            close(descriptor)
            unlink(path)
        }

        /// Whether the notice comes within two minutes; others are passed over.
        func wait(for notice: String) -> Bool {
            let end = Date().addingTimeInterval(120)
            var bytes = [UInt8](repeating: 0, count: 4096)
            while Date() < end {
                var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&waiting, 1, 1000) > 0 else { continue }
                let count = recv(descriptor, &bytes, bytes.count, 0)
                if count > 0, String(decoding: bytes[..<count], as: UTF8.self) == notice { return true }
            }
            return false
        }
    }
}
