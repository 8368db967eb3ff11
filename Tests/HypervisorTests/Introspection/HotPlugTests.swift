import QMP
import Testing

@testable import Hypervisor

@Suite struct HotPlugTests {
    private func machine(_ arguments: [String], devices: [Device] = []) -> MachineDescription {
        MachineDescription(
            process: ProcessDescription(id: 1, arguments: arguments), version: QMPVersion(major: 7, minor: 2, micro: 22),
            machineType: "pc-q35-7.2", devices: devices)
    }

    @Test func devicesThatTheCommandLineDoesNotNameWerePluggedIn() {
        let devices = [
            Device(path: "/machine/peripheral/net0", type: "virtio-net-pci"),
            Device(path: "/machine/peripheral/rng", type: "virtio-rng-pci"),
            Device(path: "/machine/peripheral/disk", type: "virtio-blk-pci"),
            Device(path: "/machine/unattached/device[3]", type: "mc146818rtc"),
            Device(path: "/machine/peripheral-anon/device[0]", type: "VGA"),
        ]
        let arguments = ["qemu", "-device", "virtio-net-pci,id=net0,romfile=", "-device", #"{"driver": "virtio-blk-pci", "id": "disk"}"#]
        #expect(machine(arguments, devices: devices).hotPluggedDevices == ["rng (virtio-rng-pci)"])
        #expect(machine(arguments + ["-device", "virtio-rng-pci,id=rng0"], devices: devices).hotPluggedDevices.count == 1)
        #expect(machine(arguments + ["-device", "virtio-rng-pci,id=rng"], devices: devices).hotPluggedDevices.isEmpty)
    }

    @Test func devicesThatTheCommandLineNamesAndTheMachineLacksWereTakenOut() {
        let devices = [
            Device(path: "/machine/peripheral/net0", type: "virtio-net-pci"),
            Device(path: "/machine/unattached/device[3]", type: "mc146818rtc"),
        ]
        let arguments = [
            "qemu", "-device", "virtio-net-pci,id=net0", "-device", #"{"driver": "virtio-blk-pci", "id": "disk"}"#,
            "-device", "VGA", "-object", "rng-random,id=rng", "-device", "virtio-rng-pci,rng=rng,id=early",
        ]
        let machine = machine(arguments, devices: devices)
        #expect(machine.unpluggedDevices == ["disk", "early"])
        #expect(MachineFacts(machine).unpluggedDevices == ["disk", "early"])
        #expect(machine.pluggedDevices.map(\.name) == ["net0"])
        #expect(self.machine(arguments).unpluggedDevices.isEmpty, "a description without devices knows nothing")
    }

    @Test func aStandbyLacksWhatWasTakenOutAndTheNetworkOfItsCard() throws {
        var fixture = CommandLineFixture.standby
        let words = [
            "-netdev", "tap,id=n1,ifname=tap1", "-device", "virtio-net-pci,netdev=n1,id=second", "-device", "virtio-rng-pci,id=rng",
        ]
        #expect(try fixture.result(of: words).count == 6)
        fixture.machine.unpluggedDevices = ["second"]
        #expect(try fixture.result(of: words) == ["-device", "virtio-rng-pci,id=rng"])
        #expect(try fixture.derive(words).taps.isEmpty)
    }

    @Test func onlyAMachineWithRoomForMemoryCanGrow() {
        #expect(!machine(["qemu", "-m", "2G"]).canGrow)
        #expect(machine(["qemu", "-m", "size=2G,slots=4,maxmem=8G"]).canGrow)
    }
}
