/// Rules for the files that QEMU reads: kernels, firmware, disk images, folders.
extension StandbyDerivation {
    /// True when the option was dealt with.
    mutating func applyFileRule(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        switch argument.option {
        case "", "-kernel", "-initrd", "-dtb", "-shim", "-pflash", "-cdrom", "-hda", "-hdb", "-hdc", "-hdd", "-fda", "-fdb", "-mtdblock",
            "-sd", "-chroot", "-L":
            try replaceFile(argument)
        case "-bios", "-option-rom":
            // A bare name is looked for in QEMU's own folders.
            if argument.value?.contains("/") == true { try replaceFile(argument) } else { keep(argument) }
        case "-drive": try replaceFiles(argument, keys: ["file", "filename"], impliedKey: "file")
        case "-blockdev": try replaceFiles(argument, keys: ["filename"], impliedKey: "driver")
        case "-fw_cfg": try replaceFiles(argument, keys: ["file"], impliedKey: "name")
        case "-smbios": try replaceFiles(argument, keys: ["file", "path"], impliedKey: "type")
        case "-plugin": try replaceFiles(argument, keys: ["file"], impliedKey: "file")
        case "-boot": try replaceBootFiles(argument)
        case "-acpitable": try replaceTables(argument)
        case "-fsdev", "-virtfs": try replaceSharedFolder(argument)
        default: return false
        }
        return true
    }

    private mutating func replaceFile(_ argument: QEMUArgument) throws(HypervisorError) {
        replace(argument, with: try inputFile(argument.value ?? "", of: argument), "the path on the standby's host")
    }

    private mutating func replaceFiles(_ argument: QEMUArgument, keys: [String], impliedKey: String) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: impliedKey)
        for key in keys {
            var copy = self
            try value.rewrite(key: key) { path throws(HypervisorError) in try copy.inputFile(path, of: argument) }
            requiredFiles = copy.requiredFiles
        }
        replace(argument, with: value.text, "the path on the standby's host")
    }

    private mutating func replaceBootFiles(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "order")
        if value["splash"]?.contains("/") == true { try rewriteInput("splash", in: &value, of: argument) }
        replace(argument, with: value.text, "the path on the standby's host")
    }

    /// `file=` and `data=` of `-acpitable` are lists with colons.
    private mutating func replaceTables(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "sig")
        for key in ["file", "data"] {
            guard let list = value[key] else { continue }
            var paths: [String] = []
            for path in list.split(separator: ":") { paths.append(try inputFile(String(path), of: argument)) }
            value.set(key, .text(paths.joined(separator: ":")))
        }
        replace(argument, with: value.text, "the path on the standby's host")
    }

    private mutating func replaceSharedFolder(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "fsdriver")
        if value["sock_fd"] != nil || value["socket"] != nil {
            throw refusal(argument, "the server behind the socket is the primary's")
        }
        try rewriteInput("path", in: &value, of: argument)
        replace(argument, with: value.text, "the path on the standby's host")
    }
}
