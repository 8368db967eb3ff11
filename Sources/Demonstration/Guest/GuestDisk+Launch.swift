extension GuestDisk {
    /// The name of disk `index` everywhere: QEMU's node name or drive, and the disk's serial number in the guest. The node of its
    /// file is called `diskN-file`, its device `diskN-device`.
    static func name(_ index: Int) -> String { "disk\(index)" }

    /// QEMU's arguments for a guest's disks.
    static func arguments(_ disks: [GuestDisk], machine: String) -> [String] {
        let ownAHCI = !machine.contains("q35")
        var arguments = [String]()
        if disks.contains(where: { $0.interface == .virtioSCSI }) { arguments += ["-device", "virtio-scsi-pci,id=scsi"] }
        if ownAHCI, disks.contains(where: { $0.interface == .sata }) { arguments += ["-device", "ich9-ahci,id=ahci"] }
        var ports = 0
        for (index, disk) in disks.enumerated() {
            let name = name(index)
            arguments += disk.classicDrive ? disk.drive(name) : disk.nodes(name)
            arguments += ["-device", disk.device(name, port: ports, ahci: ownAHCI ? "ahci" : "ide")]
            if disk.interface != .virtioBlock { ports += 1 }
        }
        return arguments
    }

    private func nodes(_ name: String) -> [String] {
        let cache = "cache.direct=\(onOff(cache.direct)),cache.no-flush=\(onOff(cache.noFlush))"
        return [
            "-blockdev", "driver=file,node-name=\(name)-file,filename=\(quoted),\(cache)",
            "-blockdev", "driver=\(image.format.rawValue),node-name=\(name),file=\(name)-file,\(cache)",
        ]
    }

    private func drive(_ name: String) -> [String] {
        ["-drive", "if=none,id=\(name),file=\(quoted),format=\(image.format.rawValue),cache=\(cache.rawValue)"]
    }

    private func device(_ name: String, port: Int, ahci: String) -> String {
        let place =
            switch interface {
            case .virtioBlock: "virtio-blk-pci"
            case .virtioSCSI: "scsi-hd,bus=scsi.0,scsi-id=\(port)"
            case .sata: "ide-hd,bus=\(ahci).\(port)"
            }
        let writeCache = classicDrive ? "" : ",write-cache=\(onOff(cache.writeCache))"
        return "\(place),id=\(name)-device,drive=\(name),serial=\(name)\(writeCache)"
    }

    /// QEMU's way to write a comma in a value.
    private var quoted: String { image.path.replacing(",", with: ",,") }

    private func onOff(_ value: Bool) -> String { value ? "on" : "off" }

    /// The kernel modules that a guest with these disks needs, in the order of dependence.
    static func modules(_ disks: [GuestDisk]) -> [String] {
        let interfaces = Set(disks.map(\.interface))
        var modules = [String]()
        if disks.contains(where: { $0.use == .journal || $0.use == .run }) {
            modules += ["crc32c_generic", "crc16", "mbcache", "jbd2", "ext4"]
        }
        if interfaces.contains(.virtioBlock) { modules += ["virtio_blk"] }
        if interfaces.contains(.virtioSCSI) || interfaces.contains(.sata) {
            modules += ["scsi_common", "scsi_mod", "crct10dif_common", "crc-t10dif", "crc64", "crc64-rocksoft", "t10-pi", "sd_mod"]
        }
        if interfaces.contains(.virtioSCSI) { modules += ["virtio_scsi"] }
        if interfaces.contains(.sata) { modules += ["libata", "libahci", "ahci"] }
        return modules
    }

    /// What the guest's service is told about its disks, on the kernel's command line.
    static func parameters(_ disks: [GuestDisk]) -> String {
        disks.enumerated().filter { $0.element.use != .idle }
            .map { " us.\($0.element.use.rawValue)=serial:\(name($0.offset))" }.joined()
    }
}
