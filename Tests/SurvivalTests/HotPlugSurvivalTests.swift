import Demonstration
import Foundation
import Glibc
import HostAPI
import QMP
import Testing

/// The machine changes while it is protected.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct HotPlugSurvivalTests {
    /// A standby cannot be made of what was plugged in: protection begins anew by itself, fails in words, and harms nobody. Taken out again,
    /// the machine can be protected again.
    @Test func whatIsPluggedInEndsProtectionVisiblyAndHarmsNobody() throws {
        let pair = try hotPluggable { $0.furtherArguments += ["-m", "\($0.memoryMiB),slots=2,maxmem=1G"] }
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(10)
        let monitor = try QMPClient(socketPath: pair.secondMonitor)

        try monitor.execute("device_add", arguments: ["driver": "virtio-rng-pci", "id": "late"])
        try expectAFailedRenewal(of: pair, after: "epoch-refused", naming: "late (virtio-rng-pci)")
        #expect(pair.log(of: .first).contains("the machine's devices changed since the rehearsal"))

        try monitor.execute("device_del", arguments: ["id": "late"])
        try pair.wait(seconds: 60, for: "the guest to let the device go") { !has("late", monitor) }
        try pair.protect()

        try monitor.execute("object-add", arguments: ["qom-type": "memory-backend-ram", "id": "more", "size": 134_217_728])
        try monitor.execute("device_add", arguments: ["driver": "pc-dimm", "id": "dimm", "memdev": "more"])
        try expectAFailedRenewal(of: pair, after: "memory-changed", naming: "dimm (pc-dimm)")
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    /// What was on the command line and is taken out ends protection for the moment of a new rehearsal; the standby then lacks it too.
    @Test func aMachineWhoseDeviceIsTakenOutIsProtectedAgainByItself() throws {
        let pair = try hotPluggable { $0.furtherArguments += ["-device", "virtio-rng-pci,id=early"] }
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(10)
        let monitor = try QMPClient(socketPath: pair.secondMonitor)
        try monitor.execute("device_del", arguments: ["id": "early"])
        try pair.wait(seconds: 60, for: "the change to be seen") { pair.hasEvent("devices-changed", on: pair.daemon(.first)) }
        #expect(pair.hasEvent("unprotected", on: pair.daemon(.first)) && !has("early", monitor))
        try pair.awaitState(.protected, on: pair.daemon(.first), seconds: 90)
        #expect(pair.log(of: .first).contains("-device virtio-rng-pci,id=early: dropped"), "\(pair.logs)")
        try pair.awaitMoreEpochs(10)
        let died = MonotonicTime.now()
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    private func hotPluggable(_ change: (inout GuestLaunch) -> Void) throws -> ProtectedLab {
        try ProtectedLab(
            settings: ProtectedLab.patient, extraMonitor: true,
            change: { launch in
                launch.machine = "pc"
                change(&launch)
            })
    }

    /// The machine is unprotected, says why, and its guest goes on where it is.
    private func expectAFailedRenewal(of pair: ProtectedLab, after event: String, naming device: String) throws {
        try pair.wait(seconds: 60, for: "protection to fail; it is \(String(describing: pair.status(.first)))") {
            pair.status(.first).map { $0.state == .unprotected && $0.message.contains(device) } ?? false
        }
        for kind in [event, "unprotected", "devices-changed"] { #expect(pair.hasEvent(kind, on: pair.daemon(.first)), "\(kind)") }
        #expect(pair.status(.first)?.protected == false)
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        #expect(pair.status(.second)?.takeover == nil)
    }

    private func has(_ device: String, _ monitor: QMPClient) -> Bool {
        let children = try? monitor.execute("qom-list", arguments: ["path": "/machine/peripheral"])
        return children?.array?.contains { $0["name"]?.string == device } ?? true
    }
}
