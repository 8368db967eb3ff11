import Demonstration
import Foundation
import Glibc
import QMP
import Testing

@testable import Hypervisor

/// The kinds of machines that `docs/machines.md` promises: each is brought to equal memories, through checkpoints and reboots, and taken over.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct MachineMatrixTests {
    /// Which QEMU a row runs on.
    enum Emulator: String, CaseIterable, CustomTestStringConvertible {
        case debian12 = "7.2"
        case backports = "10.0"
        var testDescription: String { "QEMU \(rawValue)" }
        var program: String? { self == .debian12 ? Requirements.qemu : Requirements.qemu10 }
        /// One thread for all processors with QEMU 10.0: with one for each it sometimes ends with an assertion of its own while such a guest
        /// boots or reboots (`msix_table_mmio_write`, `iotlb_to_section`).
        var accelerator: String { self == .debian12 ? "tcg" : "tcg,thread=single" }
        static let present = allCases.filter { $0.program != nil }
    }

    /// q35 with 2 or 8 processors, VGA, virtio-net, virtio-serial, virtio-rng and a balloon over anonymous memory.
    @Test(arguments: Emulator.present)
    func q35WithManyProcessorsAndVirtioDevices(emulator: Emulator) throws {
        var launch = try launch(emulator.program!)
        launch.processors = emulator == .debian12 ? 2 : 8
        launch.accelerator = emulator.accelerator
        addSerialPort(to: &launch)
        launch.furtherArguments += ["-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"]
        launch.modules += ["virtio-rng", "virtio_balloon"]
        try prove(launch, rebootsBefore: emulator == .debian12, rebootsAfter: true)
    }

    /// i440fx with 4 processors, VGA, virtio-net, a second card that is an e1000, virtio-serial, virtio-rng and a USB tablet.
    @Test(arguments: Emulator.present)
    func i440fxWithFourProcessorsAndTwoKindsOfCards(emulator: Emulator) throws {
        var launch = try launch(emulator.program!)
        launch.machine = "pc"
        launch.processors = 4
        launch.accelerator = emulator.accelerator
        addSerialPort(to: &launch)
        launch.furtherArguments += [
            "-netdev", "user,id=net1,restrict=on", "-device", "e1000,netdev=net1,romfile=", "-device", "virtio-rng-pci", "-usb", "-device",
            "usb-tablet",
        ]
        launch.furtherAddresses = ["10.79.0.2/24"]
        launch.modules += ["e1000", "virtio-rng"]
        try prove(launch, rebootsBefore: emulator == .backports, rebootsAfter: false)
    }

    /// UEFI without a variable store of its own: the firmware keeps its variables in the guest's memory.
    @Test(.enabled(if: UEFI.isInstalled, "needs Debian's package ovmf and the guest's kernel package in the cache folder"))
    func uefiWithoutVariables() throws {
        var launch = try launch(Requirements.qemu)
        launch.image = GuestImage(kernel: UEFI.kernel!, initramfs: launch.image.initramfs)
        launch.memoryMiB = 256
        launch.furtherArguments += ["-bios", UEFI.firmware]
        try prove(launch, rebootsBefore: false, rebootsAfter: true)
    }

    /// Every write dirties a whole huge page, so this guest writes little.
    @Test(.enabled(if: HugePages.areGranted, "the kernel gives no 64 huge pages of 2 MiB, or has no hugetlbfs"))
    func memoryOnHugePages() throws {
        let pages = try #require(HugePages(count: 64), "another process took the huge pages meanwhile")
        var launch = try launch(Requirements.qemu)
        launch.memoryBackend = .file(folder: pages.folder)
        launch.dirtyPages = 8
        try prove(launch, rebootsBefore: false, rebootsAfter: true)
        withExtendedLifetime(pages) {}
    }

    private func launch(_ qemu: String) throws -> GuestLaunch {
        GuestLaunch(image: try GuestImage.cached(), qemu: qemu, memoryMiB: 128, dirtyPages: 200)
    }

    /// A port as qemu-guest-agent uses it; the guest writes to it every second. It is the guest's second virtio device.
    private func addSerialPort(to launch: inout GuestLaunch) {
        launch.furtherArguments += [
            "-device", "virtio-serial-pci", "-chardev", "file,id=agent,path=FOLDER/agent", "-device",
            "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
        ]
        launch.modules.append("virtio_console")
        launch.echo = "/dev/vport1p1"
    }

    private func prove(_ launch: GuestLaunch, rebootsBefore: Bool, rebootsAfter: Bool) throws {
        let pair = try ExactnessPair(ExactnessGuest.linux(launch))
        try pair.synchronise()
        let comparison = try ExactnessComparison(pair)
        try compare(comparison, checkpoints: 10)
        if rebootsBefore {
            try pair.qmp.execute("system_reset")
            let mark = pair.guest.readyMark
            try pair.wait(for: "the guest's reboot") { pair.console("serial").components(separatedBy: mark).count == 3 }
            try compare(comparison, checkpoints: 4)
        }
        try ExactnessTakeover.goesOn(pair, rebooting: rebootsAfter)
        if launch.echo != nil {
            try pair.wait(for: "the guest's words at the standby's virtio port") { pair.console("standby.agent").contains("tick ") }
        }
    }

    private func compare(_ comparison: ExactnessComparison, checkpoints: Int) throws {
        for checkpoint in 1...checkpoints {
            let (_, differences) = try comparison.checkpoint(comparing: checkpoint % 2 == 0 && checkpoint > checkpoints - 4)
            #expect(differences.isEmpty, "checkpoint \(checkpoint): \(differences.count) pages differ, \(differences.prefix(5))")
            usleep(5_000)
        }
    }
}

/// Debian's UEFI firmware, and the guest's kernel in the form that UEFI starts.
private enum UEFI {
    static let firmware = "/usr/share/ovmf/OVMF.fd"
    static let kernel: String? = {
        let folder = "\(GuestImage.cacheFolder)/kernel/boot"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.first { $0.hasPrefix("vmlinuz-") }.map { "\(folder)/\($0)" }
    }()
    static var isInstalled: Bool { kernel != nil && access(firmware, R_OK) == 0 }
}

/// Huge pages of 2 MiB reserved for one test and given back with it, and a hugetlbfs to take them from.
private final class HugePages {
    let folder: String
    private let before: Int
    /// Whether the kernel gives as many as the test needs; they are given back at once.
    static let areGranted = HugePages(count: 64) != nil
    private static let setting = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

    /// Nil when the kernel does not give them.
    init?(count: Int) {
        guard let before = Self.reserved else { return nil }
        self.before = before
        var template = Array("/tmp/understudy-hugepages-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return nil }
        folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let isMounted = mount("hugetlbfs", folder, "hugetlbfs", 0, "pagesize=2M") == 0
        Self.reserve(before + count)
        // deinit runs for a failing initialiser too, once everything is set.
        guard isMounted, Self.reserved == before + count else { return nil }
    }

    deinit {
        umount2(folder, Int32(MNT_DETACH))
        rmdir(folder)
        Self.reserve(before)
    }

    private static var reserved: Int? {
        (try? String(contentsOfFile: setting, encoding: .utf8)).flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    private static func reserve(_ count: Int) { try? "\(count)\n".write(toFile: setting, atomically: false, encoding: .utf8) }
}
