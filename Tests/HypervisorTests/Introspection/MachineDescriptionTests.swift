import Glibc
import LinuxShim
import QMP
import Testing
import UnderstudyCore

@testable import Hypervisor

@Suite(.serialized, .enabled(if: TestMachine.isAvailable, "needs root and qemu-system-x86_64"))
struct MachineDescriptionTests {
    private func read(_ process: pid_t, _ address: UInt64, _ length: Int) throws -> [UInt8] {
        let descriptor = open("/proc/\(process)/mem", O_RDONLY)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: length)
        try #require(pread(descriptor, &bytes, length, off_t(address)) == length)
        return bytes
    }

    /// Compares every block with an independent witness: QEMU's own dump of guest memory, and the files that ROMs come from.
    private func checkBlocks(_ description: MachineDescription, _ qmp: QMPClient, _ machine: TestMachine, main: String) throws {
        let blocks = Dictionary(uniqueKeysWithValues: description.ramBlocks.map { ($0.name, $0) })
        #expect(Set(description.ramBlocks.map(\.hostAddress)).count == description.ramBlocks.count)
        let ram = try #require(blocks[main])
        #expect(ram.usedLength == description.memorySize)
        try qmp.execute("stop")
        let dump = "\(machine.folder)/dump"
        try qmp.execute("pmemsave", arguments: ["val": 0x100000, "size": 0x100000, "filename": .string(dump)])
        #expect(try ProcessFile.bytes(dump) == read(machine.process, ram.hostAddress + 0x100000, 0x100000))
        try qmp.execute("pmemsave", arguments: ["val": 0xfffc_0000, "size": 0x40000, "filename": .string(dump)])
        #expect(try ProcessFile.bytes(dump) == read(machine.process, try #require(blocks["pc.bios"]).hostAddress, 0x40000))
        for block in description.ramBlocks where block.name.hasSuffix(".rom") && block.name != "pc.rom" {
            #expect(try read(machine.process, block.hostAddress, 2) == [0x55, 0xAA], "\(block.name)")
        }
        for block in description.ramBlocks where block.name.hasSuffix("virtio-net-pci.rom") {
            let file = try ProcessFile.bytes("/usr/lib/ipxe/qemu/efi-virtio.rom")
            // QEMU patches the device's id and the checksum into the first bytes.
            #expect(try read(machine.process, block.hostAddress, file.count).dropFirst(512).elementsEqual(file.dropFirst(512)))
        }
        if let tables = blocks["/rom@etc/acpi/tables"] {
            #expect(try read(machine.process, tables.hostAddress, 4) == Array("FACS".utf8))
        }
        if let pointer = blocks["/rom@etc/acpi/rsdp"] {
            #expect(try read(machine.process, pointer.hostAddress, 8) == Array("RSD PTR ".utf8))
        }
        try qmp.execute("cont")
    }

    @Test(arguments: [false, true]) func aMachineOnATapIsDescribedAndAdmitted(beforeFirmware: Bool) throws {
        let network = try TestNetwork()
        let machine = try TestMachine(
            [
                "-name", "first,process=x y) z", "-netdev", "tap,id=n0,ifname=tap0,script=no,downscript=no", "-device",
                "virtio-net-pci,netdev=n0,id=nic,mac=52:54:00:AA:bb:01", "-device", "virtio-balloon", "-device", "VGA", "-device",
                "vmgenid,guid=03cfbae2-5121-454f-a678-9da07987a370", "-smp", "2",
            ] + (beforeFirmware ? ["-S"] : []), prefix: network.prefix)
        let qmp = try machine.connect()
        if !beforeFirmware { usleep(1_500_000) }
        let description = try MachineDescription.read(from: qmp)
        #expect(description.process.id == machine.process)
        #expect(description.process.startTime > 0)
        #expect(description.process.executable.hasSuffix("/qemu-system-x86_64"))
        #expect(description.process.arguments.contains("virtio-net-pci,netdev=n0,id=nic,mac=52:54:00:AA:bb:01"))
        #expect(description.machineType.hasPrefix("pc-q35-") && description.accelerator == "tcg")
        #expect(description.memorySize == 64 << 20 && description.cpuCount == 2)
        #expect(description.generationID == "03cfbae2-5121-454f-a678-9da07987a370")
        #expect(description.networkBackends == [NetworkBackend(id: "n0", type: "tap", interface: "tap0")])
        #expect(
            description.networkCards == [NetworkCard(name: "nic", model: "virtio-net-pci", macAddress: "52:54:00:aa:bb:01", backend: "n0")])
        #expect(description.devices.contains(Device(path: "/machine/peripheral/nic", type: "virtio-net-pci")))
        #expect(description.blockedReasons.isEmpty && description.blockDevices.isEmpty && description.name == "first")
        #expect(description.characterDevices.contains { $0.filename.contains("/qmp") })
        try checkBlocks(description, qmp, machine, main: "pc.ram")

        let inside = try network.enter { try HostFacts.gather(for: description) }
        #expect(refusals(machine: description, host: inside).map(\.code) == (beforeFirmware ? [.notRunning] : []))
        let outside = try HostFacts.gather(for: description)
        #expect(refusals(machine: description, host: outside).map(\.code).contains(.otherNetworkNamespace))
        try network.inside("ip", "link", "set", "tap0", "nomaster")
        let unbridged = try network.enter { try HostFacts.gather(for: description) }
        #expect(refusals(machine: description, host: unbridged).map(\.code).contains(.tapNotInBridge))
        machine.kill()
    }

    @Test(arguments: [
        "memory-backend-ram,id=ram0,size=64M", "memory-backend-memfd,id=ram0,size=64M,share=on",
        "memory-backend-file,id=ram0,size=64M,share=on,mem-path=/dev/shm",
    ])
    func everyKindOfMemoryIsFound(backend: String) throws {
        let machine = try TestMachine(["-object", backend, "-device", "VGA"], machine: "q35,memory-backend=ram0")
        let qmp = try machine.connect()
        usleep(1_000_000)
        let description = try MachineDescription.read(from: qmp)
        #expect(description.memoryBackends.map(\.isShared) == [backend.contains("share=on")])
        #expect(description.memoryBackends[0].type == backend.prefix { $0 != "," })
        try checkBlocks(description, qmp, machine, main: "ram0")
        machine.kill()
    }

    @Test func twoCardsWithEqualROMsAreFoundOnAnOlderMachine() throws {
        let machine = try TestMachine(
            [
                "-netdev", "user,id=n0", "-netdev", "user,id=n1", "-device", "virtio-net-pci,netdev=n0", "-device",
                "virtio-net-pci,netdev=n1",
                "-S",
            ], machine: "pc")
        let qmp = try machine.connect()
        let description = try MachineDescription.read(from: qmp)
        #expect(description.networkCards.count == 2 && description.networkBackends.map(\.type) == ["user", "user"])
        try checkBlocks(description, qmp, machine, main: "pc.ram")
        let found = Set(refusals(machine: description, host: HostFacts(kernel: KernelVersion(major: 6, minor: 7))).map(\.code))
        #expect(found == [.notRunning, .networkBackendNotTap])
        machine.kill()
    }

    @Test func twoDisplaysThatCannotBeToldApartAreAnError() throws {
        let machine = try TestMachine(["-device", "VGA", "-device", "secondary-vga", "-S"])
        let qmp = try machine.connect()
        if qmp.version < QMPVersion(major: 8, minor: 0, micro: 0) {
            let error = #expect(throws: HypervisorError.self) { try MachineDescription.read(from: qmp) }
            #expect(error?.code == .ramBlockAmbiguous && error?.message.contains("vga.vram") == true)
        }
        machine.kill()
    }

    @Test func disksFlashAndBlockersAreSeen() throws {
        var template = Array("/tmp/understudy-disk.XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        let disk = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { unlink(disk) }
        try #require(ftruncate(descriptor, 1 << 20) == 0)
        close(descriptor)
        let machine = try TestMachine([
            "-drive", "file=\(disk),format=raw,if=none,id=d0,file.locking=off", "-device", "virtio-blk-pci,drive=d0", "-drive",
            "file=\(disk),format=raw,if=none,id=d1,readonly=on,media=cdrom,file.locking=off", "-device", "ide-cd,drive=d1,bus=ide.0",
            "-blockdev",
            "driver=raw,node-name=vars,file.driver=file,file.filename=\(disk),file.locking=off", "-device", "ide-cd,bus=ide.1", "-device",
            "nvme,serial=1,drive=d2", "-drive", "driver=null-co,if=none,id=d2,readonly=on", "-S",
        ])
        let qmp = try machine.connect()
        let description = try MachineDescription.read(from: qmp)
        #expect(description.blockDevices.filter { $0.file != nil && !$0.isReadOnly }.map(\.name) == ["d0"])
        #expect(description.blockDevices.first { $0.name == "d1" }?.isReadOnly == true)
        #expect(description.blockedReasons.contains { $0.contains("nvme") })
        #expect(try MachineDescription.blockedReasons(of: qmp) == description.blockedReasons)
        let found = Set(refusals(machine: description, host: HostFacts(kernel: KernelVersion(major: 6, minor: 7))).map(\.code))
        #expect(found.contains(.migrationBlocker) && !found.contains(.writableDisk))
        let writable = try #require(description.writableDisks.first)
        #expect(writable.byteCount == 1 << 20 && !writable.node.isEmpty && writable.usesPageCache)
        machine.kill()
    }

    @Test func aWritableFlashVariableStoreIsSeen() throws {
        let files = try (0..<2).map { _ in
            var template = Array("/tmp/understudy-flash.XXXXXX".utf8CString)
            let descriptor = mkstemp(&template)
            try #require(ftruncate(descriptor, 4 << 20) == 0)
            close(descriptor)
            return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        defer { files.forEach { unlink($0) } }
        let machine = try TestMachine([
            "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=\(files[0])", "-drive", "if=pflash,unit=1,format=raw,file=\(files[1])",
            "-S",
        ])
        let description = try MachineDescription.read(from: try machine.connect())
        #expect(description.blockDevices.filter { !$0.isReadOnly }.map(\.file) == [files[1]])
        machine.kill()
    }

    @Test func aSocketThatSomebodyElseMadeStillNamesQEMU() throws {
        let path = "/tmp/understudy-hypervisor-made-\(getpid())"
        let listener = understudy_listen_unix(path, 1)
        try #require(listener >= 0 && fcntl(listener, F_SETFD, 0) == 0)
        defer {
            close(listener)
            unlink(path)
        }
        let machine = try TestMachine(["-S", "-chardev", "socket,id=m,fd=\(listener),server=on,wait=off", "-mon", "chardev=m,mode=control"])
        let own = try machine.connect()
        #expect(try own.peerCredentials().processID == machine.process)
        let made = try machine.connect(path)
        #expect(try made.peerCredentials().processID == machine.process, "QEMU calls listen again")
        #expect(try ProcessDescription.identify(behind: made) == ProcessDescription.identify(behind: own))
        machine.kill()
    }

    @Test func behindAProxyQEMUIsFoundByItsThreadsAndNothingElseIs() throws {
        let machine = try TestMachine(["-S", "-smp", "2"])
        let qmp = try machine.connect()
        let threads = try #require(try qmp.execute("query-cpus-fast").array).compactMap { $0["thread-id"]?.int }
        #expect(try ProcessDescription.identify(peer: getpid(), threads: threads).id == machine.process)
        #expect(throws: HypervisorError.self) { try ProcessDescription.identify(peer: getpid(), threads: threads + [1]) }
        #expect(throws: HypervisorError.self) { try ProcessDescription.identify(peer: getpid(), threads: [1]) }
        #expect(throws: HypervisorError.self) { try ProcessDescription.identify(peer: getpid(), threads: []) }
        machine.kill()
    }
}
