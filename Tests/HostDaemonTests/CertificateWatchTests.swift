import Foundation
import HostAPI
import HostCertificates
import Logging
import Testing

@testable import HostDaemon

@Suite struct CertificateWatchTests {
    private static let now = Int64(Date().timeIntervalSince1970)
    private static let day: Int64 = 86_400

    /// A host's files in a folder of their own, and its configuration.
    private final class Bench {
        let folder = FileManager.default.temporaryDirectory.path + "/understudy-watch-\(UUID().uuidString)"
        let configuration: DaemonConfiguration
        let events = EventLog(logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })

        init(days: Int, authorityDays: Int = 1000) throws {
            let authority = try CertificateAuthority.create(in: folder, days: authorityDays, now: CertificateWatchTests.now)
            _ = try authority.issue("a", days: days, now: CertificateWatchTests.now)
            let text = """
                name = "a"
                [tls]
                authority = "\(folder)/authority.pem"
                certificate = "\(folder)/a.pem"
                key = "\(folder)/a.key"
                [arbiter]
                etcd = ["http://10.0.0.3:2379"]
                """
            try text.write(toFile: "\(folder)/understudyd.toml", atomically: true, encoding: .utf8)
            configuration = try DaemonConfiguration.load(path: "\(folder)/understudyd.toml")
        }

        deinit { try? FileManager.default.removeItem(atPath: folder) }

        var kinds: [String] { events.past.map(\.kind) }

        /// Puts another certificate into the place of the host's.
        func renew(days: Int) throws {
            for file in ["a.pem", "a.key"] { try FileManager.default.removeItem(atPath: "\(folder)/\(file)") }
            _ = try CertificateAuthority.load(from: folder).issue("a", days: days, now: CertificateWatchTests.now)
        }
    }

    @Test func `an expired certificate is refused with its file and what to do`() throws {
        let bench = try Bench(days: 40)
        _ = try CertificateWatch.demandUsable(bench.configuration, now: Self.now)
        _ = try CertificateWatch.demandUsable(bench.configuration, now: Self.now + 35 * Self.day)
        #expect {
            _ = try CertificateWatch.demandUsable(bench.configuration, now: Self.now + 41 * Self.day)
        } throws: { error in
            "\(error)".contains("\(bench.folder)/a.pem (CN=a) expired") && "\(error)".contains("understudy pki issue")
        }
        #expect {
            _ = try CertificateWatch.demandUsable(bench.configuration, now: Self.now - Self.day)
        } throws: { "\($0)".contains("is this host's clock right?") }
    }

    @Test func `an authority that ends first is the one that is named`() throws {
        let bench = try Bench(days: 100, authorityDays: 20)
        let line = CertificateWatch(configuration: bench.configuration, events: bench.events).check(now: Self.now)
        #expect(line.state == .warning && line.found.contains("expires in 20 days"))
        #expect {
            _ = try CertificateWatch.demandUsable(bench.configuration, now: Self.now + 21 * Self.day)
        } throws: { "\($0)".contains("expired") }
    }

    @Test func `nothing is said of a good certificate, a warning once a day from thirty days on, an alarm when it is over`() throws {
        let bench = try Bench(days: 40)
        let watch = CertificateWatch(configuration: bench.configuration, events: bench.events)
        watch.look(now: Self.now, renewed: {})
        #expect(bench.kinds.isEmpty)
        for _ in 0..<3 { watch.look(now: Self.now + 20 * Self.day, renewed: {}) }
        #expect(bench.kinds == ["certificate-expires"])
        #expect(bench.events.past[0].fields["days_left"] == "20")
        watch.look(now: Self.now + 21 * Self.day, renewed: {})
        #expect(bench.kinds == ["certificate-expires", "certificate-expires"])
        for _ in 0..<3 { watch.look(now: Self.now + 41 * Self.day, renewed: {}) }
        #expect(bench.kinds == ["certificate-expires", "certificate-expires", "certificate-expired"])
        #expect(watch.status(now: Self.now + 41 * Self.day)[0].state == "expired")
        #expect(watch.check(now: Self.now + 41 * Self.day).state == .failed)
    }

    @Test func `a renewed certificate is taken into use, and broken files are told once while the old one stays`() throws {
        let bench = try Bench(days: 20)
        let watch = CertificateWatch(configuration: bench.configuration, events: bench.events)
        var renewals = 0
        watch.look(now: Self.now, renewed: { renewals += 1 })
        try "nonsense".write(toFile: "\(bench.folder)/a.pem", atomically: true, encoding: .utf8)
        for _ in 0..<3 { watch.look(now: Self.now, renewed: { renewals += 1 }) }
        #expect(bench.kinds == ["certificate-expires", "certificate-unusable"])
        #expect(renewals == 0 && watch.status(now: Self.now).count == 2)
        try bench.renew(days: 200)
        for _ in 0..<3 { watch.look(now: Self.now, renewed: { renewals += 1 }) }
        #expect(bench.kinds.last == "certificate-renewed" && renewals == 1)
        #expect(watch.check(now: Self.now).state == .ok)
    }

    @Test func `files of another host are refused`() throws {
        let bench = try Bench(days: 20)
        var configuration = bench.configuration
        configuration.name = "b"
        #expect {
            _ = try CertificateWatch.demandUsable(configuration, now: Self.now)
        } throws: { "\($0)".contains("proves the name a and not b") }
    }
}
