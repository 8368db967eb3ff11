import Arbiter
import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// `understudy check` between two daemons: a fit pair is found fit, and whatever is not fit is named with what to do.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct CheckPairTests {
    /// Something wrong with the second host, and the lines that must fail because of it, and only those.
    struct Fault: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// Text of the second host's configuration and its replacement.
        var change: (from: String, to: String)?
        var environment: [String: String] = [:]
        var failed: [String]
    }

    private static let faults = [
        Fault(
            testDescription: "another detection time", change: ("detection-ms = 150", "detection-ms = 200"), failed: ["detection-ms"]),
        Fault(
            testDescription: "a wrong way back", change: ("\(LabAddresses.host1Replication):7641", "\(LabAddresses.host1Replication):9"),
            failed: ["host2: checkpoint stream to host1"]),
        Fault(
            testDescription: "no arbiter there", change: (":2379", ":9"), failed: ["host2: arbiter", "same arbiter"]),
        Fault(
            testDescription: "another arbiter there", change: (LabDaemons.etcd, "folder = \"/tmp\""), failed: ["same arbiter"]),
        Fault(
            testDescription: "no QEMU there", environment: ["PATH": "/nowhere"], failed: ["host2: QEMU", "QEMU versions"]),
        Fault(
            testDescription: "an unknown peer there", change: ("name = \"host1\"", "name = \"host9\""), failed: ["control channel to host2"]
        ),
    ]

    @Test func aFitPairIsFoundFitAndNothingOfTheTrialIsLeft() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        try LaboratoryFailure.settingUp { try lab.startArbiter() }
        let daemons = try LabDaemons.start(in: lab, program: Requirements.daemon, settings: "detection-ms = 150")
        let before = try [lab.host1, lab.host2].map { try RecoveryFootprint(of: $0, qemu: nil) }
        let report = try Self.check(daemons.first)
        #expect(report.fit, "\(Self.failed(report)): \(report.lines.filter { $0.state == .failed })")
        let requirements = Set(report.lines.map(\.requirement))
        let own = [
            "kernel 6.7 or later", "privilege", "page tracking", "tracing", "/dev/net/tun", "output gate", "/dev/kvm", "QEMU",
            "runtime folder", "state folder", "certificates", "arbiter",
        ]
        let pair = [
            "control channel to host2", "checkpoint stream to host2", "host2: control channel to host1",
            "host2: checkpoint stream to host1", "protocol version", "same arbiter", "QEMU versions", "memory on host2", "clocks",
            "detection-ms", "staging-mib", "processors",
        ]
        for requirement in own + own.map({ "host2: \($0)" }) + pair { #expect(requirements.contains(requirement), "\(requirement)") }
        for line in report.lines where line.state != .ok { #expect(line.remedy != nil, "\(line)") }
        for (host, before) in zip([lab.host1, lab.host2], before) {
            let differences = try RecoveryFootprint(of: host, qemu: nil).differences(from: before)
            #expect(differences == [], "\(host.name): \(differences)")
        }
        for key in ["host1", "host1/host2", "host2"] { #expect(try Self.record(lab, "understudy/check/\(key)") == nil, "\(key)") }
        try Self.expectTextAndExitCode(lab, daemons.first, status: 0, words: ["ok      output gate", "host1 is fit"])
    }

    @Test func whateverIsWrongWithThePeerIsNamedAndNothingElse() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        try LaboratoryFailure.settingUp { try lab.startArbiter() }
        let daemons = try LabDaemons.start(in: lab, program: Requirements.daemon, settings: "detection-ms = 150")
        let good = try String(contentsOfFile: daemons.second.configuration, encoding: .utf8)
        var second = daemons.second
        for fault in Self.faults {
            second.process.end()
            let text = fault.change.map { good.replacing($0.from, with: $0.to) } ?? good
            try #require(fault.change == nil || text != good, "\(fault.testDescription) changes nothing")
            try text.write(toFile: second.configuration, atomically: true, encoding: .utf8)
            second = try LabDaemons.restart(second, on: lab.host2, program: Requirements.daemon, environment: fault.environment)
            let report = try Self.check(daemons.first)
            #expect(Self.failed(report) == fault.failed, "\(fault.testDescription)")
        }
        second.process.end()
        let report = try Self.check(daemons.first)
        #expect(Self.failed(report) == ["control channel to host2"])
        try Self.expectTextAndExitCode(
            lab, daemons.first, status: 1, words: ["FAILED  control channel to host2", "-> start understudyd", "host1 is NOT fit: 1 of"])
    }

    private static func check(_ daemon: LabDaemons.Daemon) throws -> CheckReport {
        guard case .check(let report) = try daemon.perform(.check(CheckRequest())) else { throw SurvivalFailure("no report") }
        return report
    }

    private static func record(_ lab: Lab, _ key: String) throws -> ArbiterRecord? {
        try lab.arbiter.run { () throws(DemonstrationError) in
            do throws(ArbiterError) { return try EtcdArbiter(endpoints: [LabAddresses.arbiterEndpoint]).read(key: key) } catch {
                throw DemonstrationError(.network, "the arbiter cannot be read: \(error)", cause: error)
            }
        }
    }

    private static func failed(_ report: CheckReport) -> [String] { report.lines.filter { $0.state == .failed }.map(\.requirement) }

    private static func expectTextAndExitCode(_ lab: Lab, _ daemon: LabDaemons.Daemon, status: Int32, words: [String]) throws {
        let (code, said) = try lab.host1.attempt(RecoveryRefusalTests.command(daemon, ["check"]))
        #expect(code == status, "\(said)")
        for word in words { #expect(said.contains(word), "\(word) in \(said)") }
        let (_, document) = try lab.host1.attempt(RecoveryRefusalTests.command(daemon, ["check", "--json"]))
        let report = try JSONDecoder().decode(CheckReport.self, from: Data(document.utf8))
        #expect(report.fit == (status == 0))
    }
}
