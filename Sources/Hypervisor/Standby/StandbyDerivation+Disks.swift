/// Rules for replicated disks: whatever format and however many files a disk has on the primary, it is one raw image on the standby.
extension StandbyDerivation {
    /// The `-blockdev` nodes that a replicated disk replaces, and those below them that only it used.
    struct DiskNodes {
        var replaced: [String: StandbyDisk] = [:]
        var dropped: Set<String> = []
    }

    /// What a disk keeps of its options: everything that is not its format's or its file's own.
    private static let driveKeys: Set<String> = [
        "if", "id", "index", "bus", "unit", "media", "cache", "aio", "discard", "detect-zeroes", "werror", "rerror", "node-name",
        "copy-on-read", "serial", "read-only", "readonly", "group",
    ]
    private static let driveKeyPrefixes = ["cache.", "throttling", "bps", "iops", "stats-"]
    /// Nodes through which a disk's requests pass unchanged.
    private static let filters: Set<String> = ["throttle", "copy-on-read"]
    private static let protocols: Set<String> = ["file", "host_device"]

    /// Finds the nodes of replicated disks among the primary's `-blockdev` options.
    mutating func findDiskNodes(_ primary: [QEMUArgument]) throws(HypervisorError) {
        guard !overrides.disks.isEmpty else { return }
        var nodes: [String: OptionValue] = [:]
        for argument in primary where argument.option == "-blockdev" {
            let value = try OptionValue(parsing: argument.value ?? "", impliedKey: "driver")
            if let name = value["node-name"] { nodes[name] = value }
        }
        for disk in overrides.disks {
            var name = disk.node
            while let node = nodes[name], Self.filters.contains(node["driver"] ?? ""), let below = node["file"] { name = below }
            if nodes[name] != nil { diskNodes.replaced[name] = disk }
        }
        for name in diskNodes.replaced.keys { collectChildren(of: name, in: nodes) }
    }

    private mutating func collectChildren(of name: String, in nodes: [String: OptionValue]) {
        guard let node = nodes[name] else { return }
        for key in ["file", "backing", "data-file"] {
            guard let child = node[key], nodes[child] != nil, diskNodes.dropped.insert(child).inserted else { continue }
            collectChildren(of: child, in: nodes)
        }
    }

    /// True when the option was a replicated disk's.
    mutating func applyDiskRule(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        switch argument.option {
        case "-drive": return try replaceDrive(argument)
        case "-blockdev": return try replaceNode(argument)
        case "", "-hda": return replaceShorthand(argument, "index=0,media=disk")
        case "-hdb": return replaceShorthand(argument, "index=1,media=disk")
        case "-hdc": return replaceShorthand(argument, "index=2,media=disk")
        case "-hdd": return replaceShorthand(argument, "index=3,media=disk")
        case "-pflash": return replaceShorthand(argument, "if=pflash")
        default: return false
        }
    }

    private static let why = "the replicated disk is one raw image here"

    private func disk(behind path: String) -> StandbyDisk? {
        let file = absolute(path.hasPrefix("file:") ? String(path.dropFirst(5)) : path)
        return overrides.disks.first { absolute($0.file) == file && !diskNodes.replaced.values.contains($0) }
    }

    private mutating func replaceShorthand(_ argument: QEMUArgument, _ rest: String) -> Bool {
        guard let path = argument.value, let disk = disk(behind: path) else { return false }
        matchedDisks.insert(disk.node)
        let value = "file=\(OptionValue.escaped(image(of: disk))),format=raw,\(rest)"
        arguments.append(QEMUArgument(option: "-drive", value: value))
        rules.append(AppliedRule(option: argument.option, from: path, to: "-drive \(value)", why: Self.why))
        return true
    }

    private mutating func replaceDrive(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "file")
        let paths = ["file", "filename", "file.filename"].compactMap { value[$0] }
        guard let path = paths.first, let disk = disk(behind: path) else { return false }
        matchedDisks.insert(disk.node)
        for key in value.keys where !Self.driveKeys.contains(key) && !Self.driveKeyPrefixes.contains(where: { key.hasPrefix($0) }) {
            value.remove(key)
        }
        value.set("file", .text(image(of: disk)))
        value.set("format", .text("raw"))
        replace(argument, with: value.text, Self.why)
        return true
    }

    private mutating func replaceNode(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        let value = try OptionValue(parsing: argument.value ?? "", impliedKey: "driver")
        guard let name = value["node-name"] else { return false }
        if diskNodes.dropped.contains(name) {
            drop(argument, "a part of a replicated disk, which is one raw image here")
            return true
        }
        guard let disk = diskNodes.replaced[name] else { return false }
        matchedDisks.insert(disk.node)
        let isProtocol = Self.protocols.contains(value["driver"] ?? "")
        let place = isProtocol ? "" : "file."
        var words = ["driver=\(isProtocol ? "file" : "raw")", "node-name=\(OptionValue.escaped(name))"]
        for key in ["discard", "detect-zeroes"] { if let text = value[key] { words.append("\(key)=\(text)") } }
        if !isProtocol { words.append("file.driver=file") }
        words.append("\(place)filename=\(OptionValue.escaped(image(of: disk)))")
        for key in ["cache.direct", "cache.no-flush"] {
            guard let text = value[nested: key] ?? value[nested: "file.\(key)"] else { continue }
            words.append("\(key)=\(text)")
            if !isProtocol { words.append("file.\(key)=\(text)") }
        }
        replace(argument, with: words.joined(separator: ","), Self.why)
        return true
    }

    /// A rehearsal must not touch the standby's image, which is being filled.
    private func image(of disk: StandbyDisk) -> String {
        guard isRehearsal, let index = overrides.disks.firstIndex(of: disk) else { return disk.path }
        return StandbyCommandLine.rehearsalImage(ofDisk: index, in: runtimeFolder)
    }

    /// Every replicated disk must have found its place, else the standby would run on something else.
    func demandDisks() throws(HypervisorError) {
        for disk in overrides.disks where !matchedDisks.contains(disk.node) {
            throw HypervisorError(
                .optionRefused,
                "the disk \(disk.name) (\(disk.file)) is not on the primary's command line, so that no standby can have it: was it plugged in later, or is it snapshot=on? Start the machine with it"
            )
        }
    }
}

extension StandbyCommandLine {
    /// The file that a rehearsal has in a replicated disk's place: as large, and empty.
    public static func rehearsalImage(ofDisk index: Int, in runtimeFolder: String) -> String {
        "\(runtimeFolder)/rehearsal.disk\(index).raw"
    }
}
