import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// `understudy protect` refuses a machine that it cannot protect before it touches anything, and says what to change.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct RecoveryRefusalTests {
    /// A machine that must be refused, with words that the message must hold.
    struct Unfit: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var arguments: [String]
        var backup = "host2"
        var said: [String]
    }

    private static let card = [
        "-netdev", "tap,id=n0,ifname=guest0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,romfile=",
    ]

    private static let unfit: [Unfit] = [
        Unfit(
            testDescription: "a second network card on a user network",
            arguments: card + ["-netdev", "user,id=n1", "-device", "virtio-net-pci,netdev=n1,romfile="],
            said: ["backend of type user", "-netdev tap"]),
        Unfit(
            testDescription: "a user network", arguments: ["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile="],
            said: ["backend of type user", "-netdev tap"]),
        Unfit(
            testDescription: "a tap in no bridge",
            arguments: [
                "-netdev", "tap,id=n0,ifname=lone0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,romfile=",
            ], said: ["lone0 is in no bridge", "ip link set lone0 master BRIDGE"]),
        Unfit(testDescription: "a paused guest", arguments: card + ["-S"], said: ["is not running but", "cont"]),
        Unfit(
            testDescription: "an unknown peer", arguments: card, backup: "host9", said: ["no peer named host9", "configured are: host2"]),
        Unfit(
            testDescription: "a migration blocker",
            arguments: card + [
                "-drive", "if=none,id=d,format=raw,readonly=on,file=FOLDER/disk", "-device", "nvme,serial=1,drive=d",
            ], said: ["cannot be migrated"]),
    ]

    @Test func anUnfitMachineIsRefusedWithTheRemedyAndNothingIsTouched() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        try LaboratoryFailure.settingUp { try lab.startArbiter() }
        let daemons = try LabDaemons.start(in: lab, program: Requirements.daemon)
        try lab.host1.tool("ip", "tuntap", "add", "dev", "lone0", "mode", "tap", "vnet_hdr")
        try Data(count: 1 << 20).write(to: URL(fileURLWithPath: "\(lab.host1.folder)/disk"))
        for machine in Self.unfit {
            let qemu = try Self.start(machine, in: lab)
            defer { qemu.process.end() }
            let before = try RecoveryFootprint(of: lab.host1, qemu: qemu.process.pid)
            let other = try RecoveryFootprint(of: lab.host2, qemu: nil)
            let (status, output) = try lab.host1.attempt(
                Self.command(daemons.first, ["protect", "unfit", "--qmp", qemu.qmp, "--backup", machine.backup]))
            #expect(status == 1, "\(machine.testDescription): \(output)")
            for word in machine.said { #expect(output.contains(word), "\(machine.testDescription): \(output)") }
            try expectNothingTouched(lab.host1, qemu.process.pid, before, machine.testDescription)
            try expectNothingTouched(lab.host2, nil, other, machine.testDescription)
            try #expect(lab.record(of: "unfit") == nil, "\(machine.testDescription)")
        }
    }

    @Test func aMonitorThatAnotherClientHoldsIsNamed() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        try LaboratoryFailure.settingUp { try lab.startArbiter() }
        let daemons = try LabDaemons.start(in: lab, program: Requirements.daemon)
        let qemu = try Self.start(Unfit(testDescription: "ordinary", arguments: Self.card, said: []), in: lab)
        let holder = UnixSocket.connect(path: qemu.qmp)
        defer { close(holder) }
        let before = try RecoveryFootprint(of: lab.host1, qemu: qemu.process.pid)
        let command = Self.command(daemons.first, ["protect", "held", "--qmp", qemu.qmp, "--backup", "host2"])
        let (status, output) = try lab.host1.attempt(command)
        #expect(status == 1 && output.contains("-qmp"), "\(output)")
        try expectNothingTouched(lab.host1, qemu.process.pid, before, "a held monitor")
        try #expect(lab.record(of: "held") == nil)
    }

    @Test func aNameThatIsInUseIsRefusedAndItsMachineStaysProtected() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        try pair.protect()
        let record = try pair.record()
        for (daemon, host, backup) in [(pair.daemons.first, pair.lab.host1, "host2"), (pair.daemons.second, pair.lab.host2, "host1")] {
            let command = Self.command(daemon, ["protect", ProtectedLab.machine, "--qmp", "/nowhere", "--backup", backup])
            let (status, output) = try host.attempt(command)
            #expect(status == 1 && output.contains("known to this host already"), "\(output)")
        }
        #expect(try pair.record() == record)
        try pair.awaitEpochs(10)
        #expect(pair.status(pair.daemons.first)?.state == .protected)
    }

    private func expectNothingTouched(_ host: LabHost, _ qemu: pid_t?, _ before: RecoveryFootprint, _ what: String) throws {
        let differences = try RecoveryFootprint(of: host, qemu: qemu).differences(from: before)
        #expect(differences == [], "\(what) on \(host.name): \(differences.joined(separator: "; "))")
    }

    private static func start(_ machine: Unfit, in lab: Lab) throws -> (process: LabProcess, qmp: String) {
        let qmp = "\(lab.host1.folder)/unfit.qmp"
        unlink(qmp)
        let arguments = machine.arguments.map { $0.replacing("FOLDER", with: lab.host1.folder) }
        let process = try lab.host1.spawn(
            [
                "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-qmp",
                "unix:\(qmp),server=on,wait=off",
            ] + arguments, log: "unfit.log")
        let end = MonotonicTime.now() + 20_000_000_000
        while !FileManager.default.fileExists(atPath: qmp) {
            guard process.isRunning, MonotonicTime.now() < end else {
                let log = (try? String(contentsOfFile: process.log, encoding: .utf8)) ?? ""
                throw SurvivalFailure("QEMU for \(machine.testDescription) did not start: \(log)")
            }
            usleep(5_000)
        }
        return (process, qmp)
    }

    static func command(_ daemon: LabDaemons.Daemon, _ arguments: [String]) -> [String] {
        let program = URL(fileURLWithPath: Requirements.daemon).deletingLastPathComponent().appendingPathComponent("understudy").path
        return [program] + arguments + ["--socket", daemon.socket]
    }
}
