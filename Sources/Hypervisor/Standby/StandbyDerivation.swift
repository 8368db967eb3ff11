/// The derivation of a standby's command line under way: takes the primary's options one by one.
///
/// Each topic's rules are in an extension of its own.
struct StandbyDerivation {
    let machine: MachineFacts
    let overrides: StandbyOverrides
    let purpose: StandbyCommandLine.Purpose
    let runtimeFolder: String
    let name: String

    var arguments: [QEMUArgument] = []
    var rules: [AppliedRule] = []
    var requiredFiles: [String] = []
    var taps: [StandbyCommandLine.Tap] = []
    /// Netdevs that are no taps.
    var deafNetworks: [String] = []
    var warnings: [String] = []
    /// Character devices that only monitors use.
    var monitorDevices: Set<String> = []
    var hasDisplay = false
    var hasMachineType = false
    var usedRemovals: Set<String> = []
    var throwawayTaps = 0
    var diskNodes = DiskNodes()
    /// Nodes of the replicated disks that were found on the command line.
    var matchedDisks: Set<String> = []
    /// Netdevs of network cards that were taken out.
    var unusedNetworks: Set<String> = []

    var isRehearsal: Bool { purpose == .rehearsal }

    /// Runs the rules over the primary's options.
    mutating func take(_ primary: [QEMUArgument]) throws(HypervisorError) {
        for argument in primary where argument.option == "-mon" {
            let value = try OptionValue(parsing: argument.value ?? "", impliedKey: "chardev")
            if let device = value["chardev"] { monitorDevices.insert(device) }
        }
        try findDiskNodes(primary)
        for argument in primary where argument.option == "-device" {
            let value = try OptionValue(parsing: argument.value ?? "", impliedKey: "driver")
            if isUnplugged(value), let network = value["netdev"] { unusedNetworks.insert(network) }
        }
        for argument in primary {
            if let removal = overrides.remove.first(where: { Self.matches($0, argument) }) {
                usedRemovals.insert(removal)
                drop(argument, "as the configuration says")
            } else {
                try apply(argument)
            }
        }
        for removal in overrides.remove where !usedRemovals.contains(removal) {
            warnings.append("the configuration removes \"\(removal)\", but the primary has no such option")
        }
        try demandDisks()
        finish()
    }

    /// The program to start in place of the primary's `argv[0]`.
    mutating func program(of primary: String?) -> String {
        let deleted = " (deleted)"
        var program = overrides.executable ?? machine.executable
        if overrides.executable == nil, program.hasSuffix(deleted) {
            program.removeLast(deleted.count)
            warnings.append("\(program) was replaced since the primary started: the standby may run another version of QEMU")
        }
        require(program)
        if let primary, primary != program {
            rules.append(AppliedRule(option: "program", from: primary, to: program, why: "the program's full path"))
        }
        return program
    }

    static func matches(_ removal: String, _ argument: QEMUArgument) -> Bool {
        guard let blank = removal.firstIndex(of: " ") else { return removal == argument.option }
        return removal[..<blank] == argument.option && argument.value?.hasPrefix(removal[removal.index(after: blank)...]) == true
    }

    private mutating func apply(_ argument: QEMUArgument) throws(HypervisorError) {
        guard argument.isKnown else {
            throw refusal(argument, "this version of Understudy does not know the option")
        }
        if let why = Self.refused[argument.option] { throw refusal(argument, why) }
        if let why = Self.dropped[argument.option] { return drop(argument, why) }
        if try applyMachineRule(argument) { return }
        if try applyNetworkRule(argument) { return }
        if try applyCharacterDeviceRule(argument) { return }
        if try applyDisplayRule(argument) { return }
        if try applyDiskRule(argument) { return }
        if try applyFileRule(argument) { return }
        keep(argument)
    }

    /// Options that belong to the primary's own process.
    private static let dropped: [String: String] = [
        "-daemonize": "Understudy watches over the process itself",
        "-pidfile": "the file belongs to the primary",
        "-D": "the log goes to the runtime folder", "-d": "debug output is the primary's own",
        "-dfilter": "debug output is the primary's own", "-trace": "tracing is the primary's own",
        "-enable-sync-profile": "profiling is the primary's own", "-perfmap": "profiling is the primary's own",
        "-jitdump": "profiling is the primary's own", "-gdb": "debuggers stay with the primary", "-s": "debuggers stay with the primary",
        "-qmp": "the standby has a private monitor", "-qmp-pretty": "the standby has a private monitor",
        "-monitor": "the standby has a private monitor", "-mon": "the standby has a private monitor",
        "-S": "added again at the end", "-incoming": "the standby waits for Understudy's stream",
        "-loadvm": "the standby's state comes through the stream", "-writeconfig": "the file belongs to the primary",
        "-mem-path": "RAM is anonymous on the standby, its block has the same name",
    ]

    /// Options that cannot work on another host.
    private static let refused: [String: String] = [
        "-readconfig": "options in a file cannot be checked; put them on the command line",
        "-add-fd": "open files cannot be handed to a standby; name the file instead",
        "-preconfig": "configuration at run time cannot be repeated; start the machine without it",
        "-qtest": "a machine under test has no guest to protect", "-qtest-log": "a machine under test has no guest to protect",
        "-dump-vmstate": "QEMU ends at once with it", "-xen-attach": "Xen guests are not supported",
        "-xen-domid": "Xen guests are not supported", "-xen-domid-restrict": "Xen guests are not supported",
        "-tpmdev": "the TPM's state lives outside QEMU; remove the TPM",
        "-h": "QEMU ends at once with it", "-help": "QEMU ends at once with it", "-version": "QEMU ends at once with it",
        "-audio-help": "QEMU ends at once with it",
    ]

    private mutating func finish() {
        if !hasMachineType {
            add("-machine", machine.machineType, "the primary's default machine, pinned to its version")
        }
        if !hasDisplay { add("-display", "none", "a host's daemon has no screen") }
        for word in overrides.append { rules.append(AppliedRule(option: word, from: "", to: "", why: "as the configuration says")) }
    }
}

extension StandbyDerivation {
    mutating func keep(_ argument: QEMUArgument) { arguments.append(argument) }

    mutating func drop(_ argument: QEMUArgument, _ why: String) {
        rules.append(AppliedRule(option: argument.option, from: argument.value ?? "", to: nil, why: why))
    }

    /// Keeps the option with another argument; without a rule when nothing changed.
    mutating func replace(_ argument: QEMUArgument, with value: String, _ why: String) {
        arguments.append(QEMUArgument(option: argument.option, value: value))
        if value != argument.value {
            rules.append(AppliedRule(option: argument.option, from: argument.value ?? "", to: value, why: why))
        }
    }

    mutating func add(_ option: String, _ value: String, _ why: String) {
        arguments.append(QEMUArgument(option: option, value: value))
        rules.append(AppliedRule(option: option, from: "", to: value, why: why))
    }

    func refusal(_ argument: QEMUArgument, _ why: String) -> HypervisorError {
        HypervisorError(
            .optionRefused,
            "the primary's option \"\(argument.description)\" does not work on a standby: \(why) (or list it under `remove` in the "
                + "configuration and give its substitute under `append`)")
    }

    /// A path of this standby's own in the runtime folder, for the primary's file `path`.
    func privatePath(for path: String) -> String {
        var last = path.split(separator: "/").last ?? "file"
        // A machine that was a standby itself must not get a longer name at every takeover.
        let own = "\(StandbyCommandLine.Purpose.standby.rawValue)."
        while last.hasPrefix(own), last.count > own.count { last = last.dropFirst(own.count) }
        return "\(runtimeFolder)/\(name).\(last)"
    }

    func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : (machine.workingDirectory == "/" ? "/" : machine.workingDirectory + "/") + path
    }

    /// The configuration's path for `path`, in the form of the command line or absolute.
    func override(for path: String) -> String? { overrides.paths[path] ?? overrides.paths[absolute(path)] }

    /// The standby's path of a file that QEMU reads, which is noted as required.
    mutating func inputFile(_ path: String, of argument: QEMUArgument) throws(HypervisorError) -> String {
        let path = path.hasPrefix("file:") ? String(path.dropFirst(5)) : path
        if path.isEmpty { return path }
        if let chosen = override(for: path) {
            require(chosen)
            return chosen
        }
        if path.hasPrefix("/dev/fd") || path.hasPrefix("/proc/self/fd") {
            throw refusal(argument, "open files cannot be handed to a standby; name the file instead")
        }
        if Self.isLocation(path) { return path }
        let result = absolute(path)
        require(result)
        return result
    }

    /// The standby's path of a file that QEMU writes.
    func outputFile(_ path: String) -> String {
        if let chosen = override(for: path) { return chosen }
        return overrides.outputFiles == .samePath ? absolute(path) : privatePath(for: path)
    }

    mutating func require(_ path: String) {
        if !requiredFiles.contains(path) { requiredFiles.append(path) }
    }

    /// Whether QEMU takes `path` for a protocol and not for a file: `nbd:...`, `json:...`, `https://...`.
    static func isLocation(_ path: String) -> Bool {
        guard let colon = path.firstIndex(of: ":"), colon != path.startIndex else { return false }
        return path[..<colon].allSatisfy { $0.isLetter || $0.isNumber || "+-.".contains($0) }
    }
}
