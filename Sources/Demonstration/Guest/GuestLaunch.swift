/// How the demo's guest is started.
public struct GuestLaunch: Sendable {
    public var image: GuestImage
    /// QEMU's program, found in PATH or absolute.
    public var qemu: String
    public var memoryMiB: Int
    /// Distinct pages that the guest's load writes at least while the guest runs 21 ms; 0 for an idle guest.
    public var dirtyPages: Int
    /// Anonymous RAM unless said otherwise.
    public var memoryBackend: MemoryBackend
    /// After so many seconds the guest powers itself off.
    public var lifeSeconds: Int?
    /// QEMU's machine type.
    public var machine = "q35"
    public var processors = 1
    /// What QEMU's `-accel` says.
    public var accelerator = "tcg"
    /// Addresses with prefix lengths of the guest's further network cards, in the cards' order.
    public var furtherAddresses: [String] = []
    /// The guest's disks, at most one of them for each use but `idle`.
    public var disks: [GuestDisk] = []
    /// Whether the guest waits for its disk before it replies; without, a crash loses what clients were told.
    public var synchronisesJournal = true
    /// Kernel modules that the guest loads besides those of its first network card and its disks.
    public var modules: [String] = []
    /// A device of the guest to which its service says every second what it also says on the serial console.
    public var echo: String?
    /// Appended to QEMU's arguments.
    public var furtherArguments: [String] = []

    /// Where the guest's RAM lives.
    public enum MemoryBackend: Sendable, Equatable {
        case anonymous
        case memfd
        /// A file in this folder.
        case file(folder: String)
    }

    public init(
        image: GuestImage, qemu: String = "qemu-system-x86_64", memoryMiB: Int = 256, dirtyPages: Int = 440,
        memoryBackend: MemoryBackend = .anonymous
    ) {
        self.image = image
        self.qemu = qemu
        self.memoryMiB = memoryMiB
        self.dirtyPages = dirtyPages
        self.memoryBackend = memoryBackend
    }

    /// QEMU's arguments: a machine under TCG with one virtio network card on a tap, a QMP socket and a serial log.
    public func arguments(tap: String, qmp: String, serial: String) -> [String] {
        var machine = machine
        var memory = ["-m", String(memoryMiB)]
        switch memoryBackend {
        case .anonymous: break
        case .memfd: memory += ["-object", "memory-backend-memfd,id=ram,size=\(memoryMiB)M"]
        case .file(let folder): memory += ["-object", "memory-backend-file,id=ram,size=\(memoryMiB)M,share=on,mem-path=\(folder)"]
        }
        if memoryBackend != .anonymous { machine += ",memory-backend=ram" }
        return [
            qemu, "-name", "understudy-demo", "-machine", machine, "-accel", accelerator, "-cpu", "max", "-smp", String(processors),
        ] + memory + [
            "-nodefaults", "-display", "none", "-kernel", image.kernel, "-initrd", disks.isEmpty ? image.initramfs : image.diskInitramfs,
            "-append", commandLine,
            "-netdev", "tap,id=net0,ifname=\(tap),script=no,downscript=no",
            "-device", "virtio-net-pci,netdev=net0,mac=\(LabAddresses.guestMAC),romfile=",
            "-qmp", "unix:\(qmp),server=on,wait=off", "-serial", "file:\(serial)",
        ] + GuestDisk.arguments(disks, machine: self.machine) + furtherArguments
    }

    /// The guest kernel's command line: whatever shortens the boot, and the service's own parameters.
    var commandLine: String {
        let modules = GuestDisk.modules(disks) + modules
        return "console=ttyS0 quiet loglevel=3 panic=-1 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on "
            + "us.ip=\((["\(LabAddresses.guest)/24"] + furtherAddresses).joined(separator: ",")) us.dirty=\(dirtyPages)"
            + (lifeSeconds.map { " us.life=\($0)" } ?? "") + (modules.isEmpty ? "" : " us.modules=\(modules.joined(separator: ","))")
            + (echo.map { " us.echo=\($0)" } ?? "") + GuestDisk.parameters(disks)
            + (synchronisesJournal ? "" : " us.journal-sync=0")
    }
}
