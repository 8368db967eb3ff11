import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// The main job on `-accel kvm`, through both daemons: the counting firmware of `Guests/counter` sends its count, the host dies, and what
/// is heard from the survivor goes on behind what was heard from the first.
@Suite(
    .serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"),
    .enabled(if: access("/dev/kvm", R_OK | W_OK) == 0, "needs /dev/kvm, readable and writable"))
struct KVMTakeoverTests {
    private static let machine = "counter"

    @Test func aGuestUnderKVMGoesOnCountingOnTheOtherHost() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        try LaboratoryFailure.settingUp { try lab.startArbiter() }
        let daemons = try LabDaemons.start(in: lab, program: Requirements.daemon, settings: ProtectedLab.patient)
        let serial = "\(lab.host1.folder)/guest.serial"
        let qmp = "\(lab.host1.folder)/guest.qmp"
        try ExactnessGuest.assembleCounter(in: lab.folder)
        let guest = try lab.host1.spawn(arguments(firmware: "\(lab.folder)/counter.bin", serial: serial, qmp: qmp), log: "guest.log")
        try wait("the guest's first round", lab) { text(serial).contains("count ") }

        let sniffer = try lab.startSniffer(keeping: 12..<26)
        _ = try daemons.first.perform(
            .protect(.init(name: Self.machine, qmp: qmp, backup: lab.host2.name, intervalMilliseconds: 25, unsafeNoOutputCommit: false)))
        try wait("40 committed epochs", lab) { (try? daemons.first.machine(Self.machine))?.epoch ?? 0 >= 40 }
        _ = try lab.killHost1(pids: [guest.pid, daemons.first.process.pid])
        try wait("the takeover", lab) { (try? daemons.second.machine(Self.machine))?.state == .unprotected }
        try wait("100 frames of the survivor", lab) { sniffer.sighting(at: LabAddresses.switchPortOfHost2).frames > 100 }

        let sightings = sniffer.stop()
        let before = try counts(sightings[LabAddresses.switchPortOfHost1])
        let after = try counts(sightings[LabAddresses.switchPortOfHost2])
        let all = before + after
        #expect(before.count > 20 && after.count > 20)
        #expect(zip(all, all.dropFirst()).allSatisfy(<), "no count was heard twice, and none goes back")
        let console = try standbyConsole(lab)
        #expect(!console.contains("COUNTER-BROKEN") && console.contains("count "), "the survivor's memory fits its processor's state")
    }

    private func arguments(firmware: String, serial: String, qmp: String) -> [String] {
        [
            Requirements.qemu, "-machine", "q35", "-accel", "kvm", "-m", "16", "-nodefaults", "-display", "none", "-bios", firmware,
            "-netdev", "tap,id=net0,ifname=\(LabAddresses.tap),script=no,downscript=no",
            "-device", "ne2k_isa,netdev=net0,mac=\(LabAddresses.guestMAC)",
            "-qmp", "unix:\(qmp),server=on,wait=off", "-serial", "file:\(serial)",
        ]
    }

    /// The counts in the guest's frames; bytes 12 to 25 of each are its type, "UCNT", the count and the value mixed from it.
    private func counts(_ sighting: FrameSniffer.Sighting?) throws -> [UInt32] {
        guard let sighting, sighting.dropped == 0 else { throw SurvivalFailure("the sniffer lost frames") }
        return stride(from: 0, to: sighting.kept.count, by: 14).compactMap { start in
            let frame = sighting.kept[start..<start + 14]
            guard frame.starts(with: [0x88, 0xb5] + Array("UCNT".utf8)) else { return nil }
            func word(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(frame[start + offset + $1]) << (8 * UInt32($1)) } }
            #expect(word(10) == word(6) &* 0x9e37_79b1)
            return word(6)
        }
    }

    private func standbyConsole(_ lab: Lab) throws -> String {
        let files = FileManager.default.enumerator(atPath: "\(lab.host2.folder)/run")?.compactMap { $0 as? String } ?? []
        guard let file = files.first(where: { $0.hasSuffix("guest.serial") }) else {
            throw SurvivalFailure("the standby has no serial console among \(files)")
        }
        return text("\(lab.host2.folder)/run/\(file)")
    }

    private func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }

    private func wait(_ what: String, _ lab: Lab, seconds: Double = 120, until condition: () -> Bool) throws {
        let end = MonotonicTime.now() + UInt64(seconds * 1e9)
        while !condition() {
            guard MonotonicTime.now() < end else {
                let logs = [lab.host1, lab.host2].map { text("\($0.folder)/understudyd.log").suffix(2000) }
                throw SurvivalFailure("waited in vain for \(what)\n\(logs.joined(separator: "\n---\n"))")
            }
            usleep(5_000)
        }
    }
}
