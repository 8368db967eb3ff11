/// Rules for the machine itself: type, memory, devices.
extension StandbyDerivation {
    /// True when the option was dealt with.
    mutating func applyMachineRule(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        switch argument.option {
        case "-machine", "-M": try pinMachine(argument)
        case "-cpu":
            warnAboutProcessor(argument)
            keep(argument)
        case "-device": try applyDeviceRule(argument)
        case "-object": try applyObjectRule(argument)
        case "-run-with": try applyRunRule(argument)
        default: return false
        }
        return true
    }

    private mutating func pinMachine(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "type")
        var reasons: [String] = []
        if let type = value["type"] {
            hasMachineType = true
            if type != machine.machineType {
                value.set("type", .text(machine.machineType))
                reasons.append("an alias may mean another machine in another QEMU")
            }
        }
        for key in ["kernel", "initrd", "dtb", "shim"] {
            try rewriteInput(key, in: &value, of: argument)
        }
        if let firmware = value["firmware"], firmware.contains("/") { try rewriteInput("firmware", in: &value, of: argument) }
        value.remove("dumpdtb")
        reasons.append("files of the standby's host")
        replace(argument, with: value.text, reasons[0])
    }

    private mutating func warnAboutProcessor(_ argument: QEMUArgument) {
        guard let model = argument.value?.split(separator: ",").first, ["host", "max"].contains(model) else { return }
        warnings.append("-cpu \(model) shows the guest the host's processor: both hosts need the same processor model and microcode")
    }

    /// Whether a device of the command line is not in the machine any more.
    func isUnplugged(_ device: OptionValue) -> Bool { device["id"].map { machine.unpluggedDevices.contains($0) } ?? false }

    private mutating func applyDeviceRule(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "driver")
        let driver = value["driver"] ?? ""
        if isUnplugged(value) { return drop(argument, "it was taken out of the running machine") }
        if driver.hasPrefix("vhost-user") || driver.hasPrefix("vfio") || driver.hasPrefix("vhost-vdpa") || driver.hasPrefix("vdpa") {
            throw refusal(argument, "the device's state lives outside QEMU; use an emulated or virtio device")
        }
        if value["vhostfd"] != nil {
            throw refusal(argument, "open files cannot be handed to a standby")
        }
        var why = "files of the standby's host"
        if driver == "vmgenid", let id = machine.vmGenerationID, value["guid"] != id {
            value.set("guid", .text(id))
            why = "the guest must see the primary's generation id, not a new one"
        } else if driver == "vmgenid", machine.vmGenerationID == nil, value["guid"] == "auto" || value["guid"] == nil {
            throw refusal(argument, "the primary's generation id is not known")
        }
        if let rom = value["romfile"], rom.contains("/") { try rewriteInput("romfile", in: &value, of: argument) }
        if driver == "loader" || driver == "guest-loader" {
            for key in ["file", "kernel", "initrd"] { try rewriteInput(key, in: &value, of: argument) }
        }
        replace(argument, with: value.text, why)
    }

    private mutating func applyObjectRule(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "qom-type")
        if DeafNetwork.isOwn(value["id"]) { return drop(argument, "of an earlier takeover") }
        switch value["qom-type"] {
        case "memory-backend-file"?: return replaceMemoryFile(argument, value)
        case "filter-dump"?:
            if isRehearsal { return drop(argument, "nothing of a rehearsal is seen outside") }
            if let file = value["file"] { value.set("file", .text(outputFile(file))) }
            return replace(argument, with: value.text, "a file of the standby's own")
        case "input-linux"?: return drop(argument, "the primary host's keyboard and mouse stay there")
        case "rng-random"?, "authz-list-file"?:
            if value["filename"] == nil { break }
            try rewriteInput("filename", in: &value, of: argument)
        case "secret"?: try rewriteInput("file", in: &value, of: argument)
        case let type? where type.hasPrefix("tls-creds-"): try rewriteInput("dir", in: &value, of: argument)
        default: break
        }
        replace(argument, with: value.text, "files of the standby's host")
    }

    /// RAM in a file becomes RAM in a memfd: the block keeps its name, which follows from the object's id, and the primary's file stays
    /// untouched even when both hosts see it. A path given by the configuration keeps the file, on a standby.
    private mutating func replaceMemoryFile(_ argument: QEMUArgument, _ file: OptionValue) {
        var value = file
        if !isRehearsal, let path = file["mem-path"], let chosen = override(for: path) {
            value.set("mem-path", .text(chosen))
            return replace(argument, with: value.text, "as the configuration says")
        }
        value.set("qom-type", .text("memory-backend-memfd"))
        value.remove("mem-path", "align", "discard-data", "pmem", "readonly", "offset", "rom")
        if value["share"] == nil { value.set("share", .flag(false)) }
        replace(argument, with: value.text, "the primary's RAM file is its own; a memfd of the same id has the same RAM block")
    }

    private mutating func applyRunRule(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "user")
        value.remove("exit-with-parent")
        try rewriteInput("chroot", in: &value, of: argument)
        if value.keys.isEmpty { return drop(argument, "the standby outlives its parent") }
        replace(argument, with: value.text, "the standby outlives its parent")
    }

    /// Replaces the path under `key`, if there is one, by the standby's, and notes it as required.
    mutating func rewriteInput(_ key: String, in value: inout OptionValue, of argument: QEMUArgument) throws(HypervisorError) {
        guard let path = value[key], !path.isEmpty else { return }
        value.set(key, .text(try inputFile(path, of: argument)))
    }
}
