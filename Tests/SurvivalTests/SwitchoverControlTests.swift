import Demonstration
import Glibc
import HostAPI
@testable import OutputRelay
import QMP
import Testing

/// The control of every proof of a switchover: a rule of the product is broken by hand, and the same judgement finds it.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct SwitchoverControlTests {
    /// The old guest runs on after the last epoch, with its gate torn off, until the other host has loaded that epoch.
    @Test func aGuestThatRunsOnUngatedAfterTheLastEpochIsCaught() throws {
        let pair = try ProtectedLab.moving(
            faults: ["host1": "switchoverRequested:1", "host2": "takeoverDecided:1"], settings: "detection-ms = 5000", extraMonitor: true)
        _ = PendingSwitchover(pair.daemon(.first))
        try pair.awaitFault(on: pair.lab.host1)
        // Where the daemon stood still before its word was on the wire, the backup finds out by itself.
        try pair.awaitFault(on: pair.lab.host2, seconds: 60)
        try pair.lab.host1.run { () throws(DemonstrationError) in
            do throws(OutputRelayError) {
                let tap = try NetworkInterface.named(LabAddresses.tap).index
                for gate in try AttachedClassifier.find(Classifier.gateName, on: tap, .ingress) {
                    try BPF.detach(gate.program, from: tap, .ingress)
                }
            } catch {
                throw DemonstrationError(.network, "\(error)")
            }
        }
        Glibc.kill(pair.activePID, SIGCONT)
        try QMPClient(socketPath: pair.secondMonitor).execute("cont")
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        Glibc.kill(pair.activePID, SIGSTOP)
        pair.daemons.second.process.signal(SIGCONT)
        try pair.awaitTakeover()
        // The damage may be that there never is another reply, so none is waited for.
        usleep(700_000)
        #expect(!(try pair.verdict(drainSeconds: 1).passed), "\(pair.logs)")
    }
}
