import Demonstration
import Glibc
import HostAPI
import Testing

/// The main job on `-accel kvm`, through both daemons: what the counting guest sends from the host to which it went goes on behind what it
/// sent from the first.
@Suite(
    .serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"),
    .enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm, readable and writable"))
struct KVMTakeoverTests {
    @Test func aGuestUnderKVMGoesOnCountingOnTheOtherHost() throws {
        let pair = try CounterLab()
        try pair.protect(on: pair.daemons.first, backup: pair.lab.host2, epochs: 40)
        _ = try pair.lab.killHost1(pids: [pair.guest.process.pid, pair.daemons.first.process.pid])
        try pair.wait("the takeover") { (try? pair.daemons.second.machine(CounterLab.machine))?.state == .unprotected }
        try pair.wait("100 frames of the survivor") { pair.sniffer.sighting(at: LabAddresses.switchPortOfHost2).frames > 100 }

        let all = try pair.countsFromBothHosts()
        #expect(zip(all, all.dropFirst()).allSatisfy(<), "no count was heard twice, and none goes back")
        let console = try pair.standbyConsole(pair.lab.host2)
        #expect(!console.contains("COUNTER-BROKEN") && console.contains("count "), "the survivor's memory fits its processor's state")
    }

    @Test func aGuestUnderKVMIsMovedWithoutALostFrame() throws {
        let pair = try CounterLab()
        try pair.protect(on: pair.daemons.first, backup: pair.lab.host2, epochs: 20)
        _ = try pair.daemons.first.perform(.switchover(SwitchoverRequest(name: CounterLab.machine, timeoutSeconds: 60)))
        try pair.wait("100 frames from the other host") { pair.sniffer.sighting(at: LabAddresses.switchPortOfHost2).frames > 100 }

        let all = try pair.countsFromBothHosts()
        #expect(zip(all, all.dropFirst()).allSatisfy { $0 + 1 == $1 }, "every count was heard once and in order")
    }
}
