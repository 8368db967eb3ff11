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
    let guest: CounterGuest
    let sniffer: FrameSniffer

    init() throws {
        lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        do {
            try lab.startArbiter()
            daemons = try LabDaemons.start(in: lab, program: Requirements.daemon, settings: ProtectedLab.patient)
            guest = try CounterGuest.start(in: lab, qemu: Requirements.qemu)
            sniffer = try lab.startSniffer(keeping: CounterGuest.keptBytes)
        } catch {
            try? lab.destroy()
            throw LaboratoryFailure(cause: error)
        }
    }

    deinit { try? lab.destroy() }

    /// Protects the guest where it runs, and waits until so many epochs are committed.
    func protect(on daemon: LabDaemons.Daemon, backup: LabHost, epochs: UInt64) throws {
        let known = (try? daemon.machine(Self.machine)) != nil
        _ = try daemon.perform(
            .protect(
                .init(
                    name: Self.machine, qmp: known ? nil : guest.qmp, backup: backup.name, intervalMilliseconds: 25,
                    unsafeNoOutputCommit: false)))
        try wait("\(epochs) committed epochs") { (try? daemon.machine(Self.machine))?.epoch ?? 0 >= epochs }
    }

    /// Ends the listening; the counts that were heard from the first host, then those from the second. Each was heard for a while.
    func countsFromBothHosts() throws -> [UInt32] {
        let sightings = sniffer.stop()
        let before = try counts(sightings[LabAddresses.switchPortOfHost1])
        let after = try counts(sightings[LabAddresses.switchPortOfHost2])
        #expect(before.count > 20 && after.count > 20)
        return before + after
    }

    /// The counts that were heard at a port of the switch.
    private func counts(_ sighting: FrameSniffer.Sighting?) throws -> [UInt32] {
        guard let sighting, let counts = CounterGuest.counts(sighting) else {
            throw SurvivalFailure("the sniffer lost frames, or one is none of the guest's")
        }
        return counts
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
