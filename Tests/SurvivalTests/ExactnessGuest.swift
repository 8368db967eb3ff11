import Demonstration
import Foundation

/// How the primary QEMU of an exactness test is started, and how its guest shows that it is up and goes on.
struct ExactnessGuest {
    /// QEMU's arguments without monitor and serial port; `FOLDER` stands for the test's folder.
    var options: [String]
    var qemu = Requirements.qemu
    /// The serial console says this when the guest is ready.
    var readyMark: String
    /// The guest counts on its console: a line of this beginning with the number behind it.
    var countMark: String

    /// The demonstration's Linux guest under its dirtying load, with the firmware's and a display's memory besides its RAM.
    static func linux(
        memory: GuestLaunch.MemoryBackend, qemu: String = Requirements.qemu, dirtyPages: Int = 440, memoryMiB: Int = 128
    ) throws -> ExactnessGuest {
        linux(
            GuestLaunch(image: try GuestImage.cached(), qemu: qemu, memoryMiB: memoryMiB, dirtyPages: dirtyPages, memoryBackend: memory))
    }

    static func linux(_ launch: GuestLaunch) -> ExactnessGuest {
        var options = launch.arguments(tap: "", qmp: "", serial: "").dropFirst().map { $0 }
        // No network but the card itself: nobody outside has a part in this.
        for (option, replacement) in [("-netdev", "user,id=net0,restrict=on"), ("-qmp", ""), ("-serial", "")] {
            guard let index = options.firstIndex(of: option) else { continue }
            if replacement.isEmpty { options.removeSubrange(index...index + 1) } else { options[index + 1] = replacement }
        }
        return ExactnessGuest(
            options: options + ["-vga", "std"], qemu: launch.qemu, readyMark: "UNDERSTUDY-GUEST-READY", countMark: "tick ")
    }

    /// The counting firmware of `Guests/counter`, under KVM: no Linux, so it runs wherever /dev/kvm runs anything.
    static func counter(accelerator: String = "kvm") -> ExactnessGuest {
        ExactnessGuest(
            options: [
                "-machine", "q35", "-accel", accelerator, "-m", "16", "-nodefaults", "-display", "none", "-bios", CounterGuest.firmware(),
            ], readyMark: "COUNTER-READY", countMark: "count ")
    }

    func arguments(in folder: String) -> [String] {
        [qemu] + options.map { $0.replacing("FOLDER", with: folder) } + [
            "-qmp", "unix:\(folder)/primary.qmp,server=on,wait=off", "-serial", "file:\(folder)/serial",
        ]
    }
}
