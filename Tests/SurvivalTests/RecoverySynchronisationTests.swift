import Demonstration
import Glibc
import HostAPI
import OutputRelay
import Testing

/// Whatever ends an unfinished or a finished protection, the guest runs on and the hosts are as they were before.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct RecoverySynchronisationTests {
    private static let steps = [
        "recordPermitted", "standbyPrepared", "trackingArmed", "roundSent", "rehearsalSent", "rehearsed", "relayPrepared",
    ]

    @Test func aClientThatGoesAwayDuringTheSynchronisationLeavesEverythingAsItWas() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        let listener = try Listener(pair.lab)
        try pair.startClients()
        let before = try RecoveryFootprint(of: pair.lab.host1, qemu: pair.guest.process.pid)
        let other = try RecoveryFootprint(of: pair.lab.host2, qemu: nil)
        for step in Self.steps {
            try pair.restartFirstDaemon(stoppingAt: step)
            let client = try pair.lab.host1.spawn(pair.protectCommand, log: "client.log")
            try pair.awaitFault(on: pair.lab.host1)
            client.signal(SIGKILL)
            _ = client.wait(milliseconds: 5000)
            pair.daemons.first.process.signal(SIGCONT)
            try pair.wait(seconds: 60, for: "the end of the session (\(step))") {
                [.failed, .ended].contains(pair.status(pair.daemons.first)?.state)
            }
            try pair.wait(seconds: 60, for: "the end of the standby (\(step))") { pair.lab.host2.processes(of: "qemu-system").isEmpty }
            try pair.expectNothingLeft(before, other, step)
            try #expect(pair.record() == nil, "\(step)")
            try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        }
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)")
        #expect(listener.violations(takenOverAt: nil) == [])
    }

    @Test func aDaemonKilledDuringTheSynchronisationHarmsNobodyAndTheNextOneProtects() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        let listener = try Listener(pair.lab)
        try pair.startClients()
        for step in Self.steps {
            try pair.restartFirstDaemon(stoppingAt: step)
            pair.beginProtecting()
            try pair.awaitFault(on: pair.lab.host1)
            pair.killFirstDaemon()
            try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
            try pair.wait(seconds: 60, for: "the end of the standby (\(step))") { pair.lab.host2.processes(of: "qemu-system").isEmpty }
        }
        try pair.restartFirstDaemon()
        try pair.awaitRecovery()
        try #expect(pair.gate() == nil)
        try pair.protect()
        try pair.awaitEpochs(10)
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.expectOneHistory(.second, listener)
    }

    @Test func unprotectUnderRunningConnectionsLosesNothingAndLeavesNothing() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        let listener = try Listener(pair.lab)
        try pair.startClients()
        let before = try RecoveryFootprint(of: pair.lab.host1, qemu: pair.guest.process.pid)
        let other = try RecoveryFootprint(of: pair.lab.host2, qemu: nil)
        for round in 1...3 {
            try pair.protect()
            try pair.awaitEpochs(10)
            let (status, output) = try pair.lab.host1.attempt(
                RecoveryRefusalTests.command(pair.daemons.first, ["unprotect", ProtectedLab.machine]))
            #expect(status == 0, "\(output)")
            try pair.wait(seconds: 60, for: "the end of the standby") { pair.lab.host2.processes(of: "qemu-system").isEmpty }
            try pair.expectNothingLeft(before, other, "round \(round)")
            try #expect(pair.record() == nil)
            try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        }
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)")
        #expect(listener.violations(takenOverAt: nil) == [])
    }

    /// The negative control of the comparisons above: a protected machine has all of it.
    @Test func aProtectedMachineLeavesItsMarkOnBothHosts() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        let before = try RecoveryFootprint(of: pair.lab.host1, qemu: pair.guest.process.pid)
        let other = try RecoveryFootprint(of: pair.lab.host2, qemu: nil)
        try pair.protect()
        let protected = try RecoveryFootprint(of: pair.lab.host1, qemu: pair.guest.process.pid)
        #expect(protected.interfaces != before.interfaces && protected.classifiers != before.classifiers)
        #expect(protected.files != before.files && protected.userfaultfds == 1 && protected.gate)
        let standby = try RecoveryFootprint(of: pair.lab.host2, qemu: nil)
        #expect(standby.interfaces != other.interfaces && standby.files != other.files && standby.qemus == 1)
    }
}

extension ProtectedLab {
    var protectCommand: [String] {
        RecoveryRefusalTests.command(daemons.first, ["protect", Self.machine, "--qmp", guest.qmp, "--backup", lab.host2.name])
    }

    /// A new daemon on the first host, which stops itself at a fault point.
    func restartFirstDaemon(stoppingAt step: String) throws {
        killFirstDaemon()
        try restart(.first, fault: "\(step):1")
        try awaitRecovery()
    }

    /// Waits until a restarted daemon has settled what the one before it left.
    func awaitRecovery() throws {
        try wait(seconds: 60, for: "the recovery, which is \(String(describing: status(daemons.first)))") {
            guard let status = status(daemons.first) else { return true }
            return [.unprotected, .ended, .failed].contains(status.state)
        }
    }

    func expectNothingLeft(_ first: RecoveryFootprint, _ second: RecoveryFootprint, _ when: String) throws {
        // What a daemon takes back after its answer (the standby's folder and tap) goes within moments.
        var found: [String] = []
        try wait(seconds: 60, for: "clean hosts (\(when)):\n\(found.joined(separator: "\n"))") {
            do {
                found = try RecoveryFootprint(of: lab.host1, qemu: guest.process.pid).differences(from: first)
                found += try RecoveryFootprint(of: lab.host2, qemu: nil).differences(from: second)
                return found.isEmpty
            } catch {
                found = ["\(error)"]
                return false
            }
        }
    }
}
