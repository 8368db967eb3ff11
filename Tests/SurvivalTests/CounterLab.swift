import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// A laboratory whose guest is the counting firmware of `Guests/counter` under KVM, with one card; everything goes with it.
final class CounterLab {
    static let machine = "counter"

    let lab: Lab
    let daemons: LabDaemons
    let guest: LabProcess
    let sniffer: FrameSniffer

    init() throws {
        lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        do {
            try lab.startArbiter()
            daemons = try LabDaemons.start(in: lab, program: Requirements.daemon, settings: ProtectedLab.patient)
            let serial = "\(lab.host1.folder)/guest.serial"
            try ExactnessGuest.assembleCounter(in: lab.folder)
            guest = try lab.host1.spawn(Self.arguments(lab, serial: serial), log: "guest.log")
            try Self.wait("the guest's first round", lab) { Self.text(serial).contains("count ") }
            sniffer = try lab.startSniffer(keeping: 12..<26)
        } catch {
            try? lab.destroy()
            throw LaboratoryFailure(cause: error)
        }
    }

    deinit { try? lab.destroy() }

    private static func monitor(_ lab: Lab) -> String { "\(lab.host1.folder)/guest.qmp" }

    private static func arguments(_ lab: Lab, serial: String) -> [String] {
        [
            Requirements.qemu, "-machine", "q35", "-accel", "kvm", "-m", "16", "-nodefaults", "-display", "none",
            "-bios", "\(lab.folder)/counter.bin",
            "-netdev", "tap,id=net0,ifname=\(LabAddresses.tap),script=no,downscript=no",
            "-device", "ne2k_isa,netdev=net0,mac=\(LabAddresses.guestMAC)",
            "-qmp", "unix:\(monitor(lab)),server=on,wait=off", "-serial", "file:\(serial)",
        ]
    }

    /// Protects the guest where it runs, and waits until so many epochs are committed.
    func protect(on daemon: LabDaemons.Daemon, backup: LabHost, epochs: UInt64) throws {
        let known = (try? daemon.machine(Self.machine)) != nil
        _ = try daemon.perform(
            .protect(
                .init(
                    name: Self.machine, qmp: known ? nil : Self.monitor(lab), backup: backup.name, intervalMilliseconds: 25,
                    unsafeNoOutputCommit: false)))
        try wait("\(epochs) committed epochs") { (try? daemon.machine(Self.machine))?.epoch ?? 0 >= epochs }
    }

    /// The counts in the guest's frames; bytes 12 to 25 of each are its type, "UCNT", the count and the value mixed from it.
    func counts(_ sighting: FrameSniffer.Sighting?) throws -> [UInt32] {
        guard let sighting, sighting.dropped == 0 else { throw SurvivalFailure("the sniffer lost frames") }
        return stride(from: 0, to: sighting.kept.count, by: 14).compactMap { start in
            let frame = sighting.kept[start..<start + 14]
            guard frame.starts(with: [0x88, 0xb5] + Array("UCNT".utf8)) else { return nil }
            func word(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(frame[start + offset + $1]) << (8 * UInt32($1)) } }
            #expect(word(10) == word(6) &* 0x9e37_79b1)
            return word(6)
        }
    }

    /// What the guest wrote to its serial port on a host to which it was moved.
    func standbyConsole(_ host: LabHost) throws -> String {
        let files = FileManager.default.enumerator(atPath: "\(host.folder)/run")?.compactMap { $0 as? String } ?? []
        guard let file = files.first(where: { $0.hasSuffix("guest.serial") }) else {
            throw SurvivalFailure("the standby has no serial console among \(files)")
        }
        return Self.text("\(host.folder)/run/\(file)")
    }

    func wait(_ what: String, until condition: () -> Bool) throws { try Self.wait(what, lab, until: condition) }

    private static func wait(_ what: String, _ lab: Lab, until condition: () -> Bool) throws {
        let end = MonotonicTime.now() + 120 * 1_000_000_000
        while !condition() {
            guard MonotonicTime.now() < end else {
                let logs = [lab.host1, lab.host2].map { text("\($0.folder)/understudyd.log").suffix(2000) }
                throw SurvivalFailure("waited in vain for \(what)\n\(logs.joined(separator: "\n---\n"))")
            }
            usleep(5_000)
        }
    }

    private static func text(_ path: String) -> String { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
}
