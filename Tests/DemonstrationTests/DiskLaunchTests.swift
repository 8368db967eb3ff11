import Testing

@testable import Demonstration

@Suite struct DiskLaunchTests {
    private func launch(_ disks: [GuestDisk], machine: String = "q35") -> GuestLaunch {
        var launch = GuestLaunch(image: GuestImage(kernel: "K", initramfs: "I", diskInitramfs: "D"))
        launch.disks = disks
        launch.machine = machine
        return launch
    }

    private func arguments(_ launch: GuestLaunch) -> String {
        launch.arguments(tap: "t", qmp: "q", serial: "s").joined(separator: " ")
    }

    private let image = DiskImage(path: "/d/a,b", format: .qcow2)

    @Test func `a guest without disks starts as it always did`() {
        let text = arguments(launch([]))
        #expect(text.contains("-initrd I "))
        #expect(!text.contains("us.modules") && !text.contains("us.journal") && !text.contains("-blockdev"))
    }

    @Test func `nodes have names, and the guest finds its disk by its serial number`() {
        let text = arguments(launch([GuestDisk(image, use: .journal)]))
        #expect(text.contains("-initrd D "))
        #expect(
            text.contains(
                "-blockdev driver=file,node-name=disk0-file,filename=/d/a,,b,cache.direct=on,cache.no-flush=off "
                    + "-blockdev driver=qcow2,node-name=disk0,file=disk0-file,cache.direct=on,cache.no-flush=off "
                    + "-device virtio-blk-pci,id=disk0-device,drive=disk0,serial=disk0,write-cache=on"))
        #expect(text.contains("us.modules=crc32c_generic,crc16,mbcache,jbd2,ext4,virtio_blk"))
        #expect(text.contains("us.journal=serial:disk0"))
    }

    @Test func `a classic drive has no node names`() {
        let text = arguments(launch([GuestDisk(image, use: .idle, cache: .writeback, classicDrive: true)]))
        #expect(text.contains("-drive if=none,id=disk0,file=/d/a,,b,format=qcow2,cache=writeback -device virtio-blk-pci,"))
        #expect(!text.contains("-blockdev"))
        #expect(!text.contains("us.journal") && !text.contains("us.blocks"))
    }

    @Test func `every interface has its controller, on every machine`() {
        let disks = [
            GuestDisk(image, use: .journal, interface: .virtioSCSI), GuestDisk(image, use: .blocks, interface: .sata, cache: .directsync),
        ]
        let modern = arguments(launch(disks))
        #expect(modern.contains("-device virtio-scsi-pci,id=scsi "))
        #expect(modern.contains("scsi-hd,bus=scsi.0,scsi-id=0,id=disk0-device"))
        #expect(modern.contains("ide-hd,bus=ide.1,id=disk1-device,drive=disk1,serial=disk1,write-cache=off"))
        #expect(!modern.contains("ich9-ahci"))
        #expect(modern.contains("sd_mod,virtio_scsi,libata,libahci,ahci"))
        #expect(arguments(launch(disks, machine: "pc")).contains("-device ich9-ahci,id=ahci "))
    }
}
