/// One option of a QEMU command line with its argument.
struct QEMUArgument: Equatable {
    /// With one dash; empty for a bare word (a disk image).
    var option: String
    /// Nil for an option that takes none.
    var value: String?

    /// Options without an argument (QEMU `qemu-options.hx`, 5.2 to 10.1).
    private static let flags: Set<String> = [
        "-S", "-alt-grab", "-async-teardown", "-audio-help", "-ctrl-grab", "-curses", "-daemonize", "-enable-fips", "-enable-kvm",
        "-enable-sync-profile", "-full-screen", "-gtk", "-h", "-help", "-jitdump", "-mem-prealloc", "-no-acpi", "-no-fd-bootchk",
        "-no-frame", "-no-hpet", "-no-kvm", "-no-quit", "-no-reboot", "-no-shutdown", "-no-user-config", "-nodefaults", "-nographic",
        "-old-param", "-only-migratable", "-perfmap", "-portrait", "-preconfig", "-s", "-sdl", "-semihosting", "-show-cursor",
        "-singlestep", "-snapshot", "-usb", "-version", "-win2k-hack", "-xen-attach", "-xen-domid-restrict",
    ]

    /// Options with an argument (same source).
    private static let valued: Set<String> = [
        "-D", "-L", "-M", "-accel", "-acpitable", "-action", "-add-fd", "-append", "-audio", "-audiodev", "-balloon", "-bios",
        "-blockdev", "-boot", "-cdrom", "-chardev", "-chroot", "-compat", "-cpu", "-d", "-debugcon", "-device", "-dfilter", "-display",
        "-drive", "-dtb", "-dump-vmstate", "-echr", "-fda", "-fdb", "-fsdev", "-fw_cfg", "-g", "-gdb", "-global", "-hda", "-hdb", "-hdc",
        "-hdd", "-icount", "-incoming", "-initrd", "-iscsi", "-k", "-kernel", "-loadvm", "-m", "-machine", "-machine-options",
        "-mem-path", "-mon", "-monitor", "-msg", "-mtdblock", "-name", "-net", "-netdev", "-nic", "-numa", "-object", "-option-rom",
        "-overcommit", "-parallel", "-pflash", "-pidfile", "-plugin", "-prom-env", "-qmp", "-qmp-pretty", "-qtest", "-qtest-log",
        "-readconfig", "-rotate", "-rtc", "-run-with", "-runas", "-sandbox", "-sd", "-seed", "-semihosting-config", "-serial", "-set",
        "-shim", "-smbios", "-smp", "-soundhw", "-spice", "-tb-size", "-tpmdev", "-trace", "-usbdevice", "-uuid", "-vga", "-virtfs",
        "-virtioconsole", "-vnc", "-watchdog", "-watchdog-action", "-writeconfig", "-xen-domid",
    ]

    /// Whether this QEMU option is one that the derivation knows.
    var isKnown: Bool { option.isEmpty || Self.flags.contains(option) || Self.valued.contains(option) }

    /// Splits the arguments after the program. Of an unknown option the following word counts as its argument unless it begins with
    /// a dash.
    static func parse(_ words: ArraySlice<String>) throws(HypervisorError) -> [QEMUArgument] {
        var result: [QEMUArgument] = []
        var rest = words
        while let word = rest.popFirst() {
            guard word.first == "-", word != "-" else {
                result.append(QEMUArgument(option: "", value: word))
                continue
            }
            let option = word.hasPrefix("--") ? String(word.dropFirst()) : word
            if flags.contains(option) {
                result.append(QEMUArgument(option: option, value: nil))
            } else if valued.contains(option) {
                guard let value = rest.popFirst() else {
                    throw HypervisorError(.optionRefused, "the primary's command line ends after \(option), which needs an argument")
                }
                result.append(QEMUArgument(option: option, value: value))
            } else {
                let value = rest.first.map { $0.hasPrefix("-") } ?? true ? nil : rest.popFirst()
                result.append(QEMUArgument(option: option, value: value))
            }
        }
        return result
    }

    /// As in a shell, for messages and overrides.
    var description: String { value.map { option.isEmpty ? $0 : "\(option) \($0)" } ?? option }

    /// The words for QEMU.
    var words: [String] { (option.isEmpty ? [] : [option]) + (value.map { [$0] } ?? []) }
}
