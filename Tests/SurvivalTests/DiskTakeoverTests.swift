import Demonstration
import HostAPI
import Testing

@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct DiskTakeoverTests {
    static let setups: [DiskLab.Setup] =
        [
            DiskLab.Setup(), DiskLab.Setup(format: .qcow2, interface: .virtioSCSI, classicDrive: true),
            DiskLab.Setup(format: .qcow2, interface: .sata, cache: .writeback),
        ]
        + (Requirements.qemu10.map {
            [DiskLab.Setup(format: .qcow2, qemu: $0), DiskLab.Setup(interface: .sata, classicDrive: true, qemu: $0)]
        } ?? [])

    @Test(arguments: setups)
    func `a takeover goes on with the disks of the last committed epoch`(setup: DiskLab.Setup) throws {
        let lab = try DiskLab(setup)
        try lab.protect(epochs: 30)
        try lab.pair.killFirstHost()
        let died = MonotonicTime.now()
        try lab.pair.awaitTakeover()
        try lab.pair.awaitReplies(after: died)
        try lab.expectWhole()
    }
}
