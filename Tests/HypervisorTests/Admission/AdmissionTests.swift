import QMP
import Testing

@testable import Hypervisor

@Suite struct AdmissionTests {
    private let good = MachineDescription(
        process: ProcessDescription(id: 1), version: QMPVersion(major: 7, minor: 2, micro: 22), machineType: "pc-q35-7.2",
        memoryBackends: [MemoryBackend(id: "pc.ram", type: "memory-backend-ram", size: 64 << 20, isShared: false)],
        networkBackends: [NetworkBackend(id: "n0", type: "tap", interface: "tap0")],
        networkCards: [NetworkCard(name: "nic", model: "virtio-net-pci", macAddress: "52:54:00:12:34:56", backend: "n0")],
        blockDevices: [
            BlockDevice(name: "cd0", file: "/iso", driver: "raw", isReadOnly: true, isRemovable: true),
            BlockDevice(name: "empty", file: nil, driver: nil, isReadOnly: true, isRemovable: true),
        ],
        devices: [Device(path: "/machine/peripheral/balloon", type: "virtio-balloon-pci")],
        trustedPlatformModules: [TrustedPlatformModule(id: "tpm0", model: "tpm-tis")])
    private let host = HostFacts(
        kernel: KernelVersion(major: 6, minor: 7),
        interfaces: [
            HostInterface(name: "tap0", kind: "tun", master: "br0", masterKind: "bridge"), HostInterface(name: "br0", kind: "bridge"),
            HostInterface(name: "macvtap0", index: 5, kind: "macvtap"), HostInterface(name: "tap1", kind: "tun"),
            HostInterface(name: "tap2", kind: "tun", master: "ovs", masterKind: "openvswitch"),
        ])

    private func codes(_ change: (inout MachineDescription, inout HostFacts) -> Void) -> [Refusal.Code] {
        var machine = good
        var host = host
        change(&machine, &host)
        let found = refusals(machine: machine, host: host)
        for refusal in found { #expect(!refusal.what.isEmpty && !refusal.remedy.isEmpty) }
        return found.map(\.code)
    }

    @Test func anOrdinaryMachineIsAdmitted() { #expect(codes { _, _ in }.isEmpty) }

    @Test func everyMigrationBlockerIsNamed() {
        #expect(codes { machine, _ in machine.blockedReasons = ["a", "b"] } == [.migrationBlocker, .migrationBlocker])
        var machine = good
        machine.blockedReasons = ["device 'nvme'"]
        #expect(refusals(machine: machine, host: host)[0].what.contains("device 'nvme'"))
    }

    @Test(arguments: ["paused", "suspended", "prelaunch", "inmigrate", "shutdown"]) func aGuestThatDoesNotRunIsRefused(status: String) {
        #expect(codes { machine, _ in machine.status = status } == [.notRunning])
    }

    @Test func aDiskWithoutANodeIsRefused() {
        #expect(codes { machine, _ in machine.blockDevices[0].isReadOnly = false } == [.writableDisk])
        #expect(
            codes { machine, _ in
                machine.blockDevices = [BlockDevice(name: "pflash1", file: "/vars", driver: "raw", isReadOnly: false, isRemovable: false)]
            } == [.writableDisk])
        #expect(codes { machine, _ in machine.devices = [Device(path: "/machine/peripheral/n", type: "nvdimm")] } == [.writableDisk])
        // One that QEMU describes is replicated.
        let disk = BlockDevice(
            name: "d0", file: "/image", driver: "qcow2", isReadOnly: false, isRemovable: false, node: "#block1", byteCount: 1)
        #expect(codes { machine, _ in machine.blockDevices = [disk] }.isEmpty)
    }

    @Test(arguments: [
        ("vhost-user-blk-pci", Refusal.Code.vhostUser), ("vhost-user-fs-pci", .vhostUser), ("vfio-pci", .vfio), ("vfio-user-pci", .vfio),
        ("vhost-vdpa-device-pci", .vdpa), ("ivshmem-plain", .sharedMemoryDevice), ("x-pci-proxy-dev", .sharedMemoryDevice),
    ]) func devicesWhoseWritesCannotBeTrackedAreRefused(type: String, code: Refusal.Code) {
        #expect(codes { machine, _ in machine.devices.append(Device(path: "/machine/peripheral/x", type: type)) } == [code])
    }

    @Test(arguments: [
        ("vhost-user", Refusal.Code.vhostUser), ("vhost-vdpa", .vdpa), ("user", .networkBackendNotTap), ("hubport", .networkBackendNotTap),
        ("vde", .networkBackendNotTap), ("l2tpv3", .networkBackendNotTap),
    ])
    func otherNetworkBackendsThanTapsAreRefused(type: String, code: Refusal.Code) {
        #expect(codes { machine, _ in machine.networkBackends[0].type = type } == [code])
    }

    @Test func aUserNetworkIsRefusedWithItsReason() {
        var machine = good
        machine.networkBackends[0].type = "user"
        #expect(refusals(machine: machine, host: host)[0].description.contains("connections live in this QEMU"))
    }

    /// Neither a tap nor its namespace is asked for.
    @Test(arguments: ["stream", "dgram", "socket"]) func aNetdevOnNoTapNeedsAName(type: String) {
        func codes(_ id: String) -> [Refusal.Code] {
            self.codes { machine, host in
                machine.networkBackends[0] = NetworkBackend(id: id, type: type)
                machine.networkCards[0].backend = id
                host.sharesNetworkNamespace = false
            }
        }
        #expect(codes("n0").isEmpty && codes("hostnet0").isEmpty)
        #expect(codes("#net012") == [.netdevWithoutName])
        #expect(codes("a,b") == [.netdevWithoutName])
    }

    @Test func onlyTheTPMThatWritesMemoryIsRefused() {
        #expect(codes { machine, _ in machine.trustedPlatformModules[0].model = "tpm-crb" } == [.tpmCRB])
    }

    @Test func aMacvtapIsRefusedByNameAndByDescriptor() {
        #expect(codes { machine, _ in machine.networkBackends[0].interface = "macvtap0" } == [.macvtap])
        #expect(codes { machine, _ in machine.networkBackends[0].interface = "/dev/tap5" } == [.macvtap])
    }

    @Test func aBalloonIsRefusedUnlessItsMemoryIsPrivateAndAnonymous() {
        #expect(codes { machine, _ in machine.memoryBackends[0].isShared = true } == [.balloonWithSharedMemory])
        for type in ["memory-backend-memfd", "memory-backend-file"] {
            #expect(codes { machine, _ in machine.memoryBackends[0].type = type } == [.balloonWithSharedMemory])
        }
        #expect(
            codes { machine, _ in
                machine.memoryBackends[0].isShared = true
                machine.devices = []
            }.isEmpty)
    }

    @Test func everyNetworkCardNeedsATapOfItsOwn() {
        #expect(codes { machine, _ in machine.networkCards = [] } == [.noNetworkCard])
        #expect(codes { machine, _ in machine.networkCards[0].backend = nil } == [.networkBackendNotTap])
        #expect(codes { machine, _ in machine.networkCards.append(machine.networkCards[0]) } == [.sharedTap])
        func second(_ type: String, _ interface: String?) -> [Refusal.Code] {
            codes { machine, host in
                machine.networkBackends.append(NetworkBackend(id: "n1", type: type, interface: interface))
                machine.networkCards.append(NetworkCard(name: "second", model: "e1000", macAddress: "52:54:00:12:34:57", backend: "n1"))
                host.interfaces.append(HostInterface(name: "tap3", kind: "tun", master: "br9", masterKind: "bridge"))
            }
        }
        #expect(second("tap", "tap3").isEmpty, "another bridge is as good")
        #expect(second("tap", "tap1") == [.tapNotInBridge], "the second card is examined like the first")
        #expect(second("user", nil) == [.networkBackendNotTap])
        #expect(second("vhost-user", nil) == [.vhostUser])
    }

    @Test func theTapMustBeInABridgeOfThisNamespace() {
        #expect(codes { machine, _ in machine.networkBackends[0].interface = "tap1" } == [.tapNotInBridge])
        #expect(codes { machine, _ in machine.networkBackends[0].interface = "tap2" } == [.tapNotInBridge])
        #expect(codes { machine, _ in machine.networkBackends[0].interface = "tap9" } == [.tapNotFound])
        #expect(codes { machine, _ in machine.networkBackends[0].interface = nil } == [.tapNotFound])
        #expect(codes { _, host in host.sharesNetworkNamespace = false } == [.otherNetworkNamespace])
    }

    @Test func theHostMustOfferWhatProtectionNeeds() {
        #expect(codes { _, host in host.kernel = KernelVersion(major: 6, minor: 6) } == [.kernelTooOld])
        #expect(codes { _, host in host.kernel = KernelVersion(major: 5, minor: 19) } == [.kernelTooOld])
        #expect(codes { _, host in host.kernel = KernelVersion(major: 7, minor: 0) }.isEmpty)
        #expect(codes { _, host in host.canTrace = false } == [.missingTracePrivilege])
        #expect(codes { _, host in host.canAdministerNetwork = false } == [.missingNetworkPrivilege])
        #expect(codes { _, host in host.hasTunDevice = false } == [.missingTunDevice])
    }

    @Test func severalReasonsAreAllReported() {
        let found = codes { machine, host in
            machine.status = "paused"
            machine.blockedReasons = ["x"]
            host.canTrace = false
        }
        #expect(Set(found) == [.notRunning, .migrationBlocker, .missingTracePrivilege])
    }

    @Test func kernelReleasesAreRead() throws {
        #expect(try KernelVersion(release: "6.18.44-fc-v595\n") == KernelVersion(major: 6, minor: 18))
        #expect(try KernelVersion(release: "6.7-rc1") == KernelVersion(major: 6, minor: 7))
        #expect(throws: HypervisorError.self) { try KernelVersion(release: "linux") }
    }
}
