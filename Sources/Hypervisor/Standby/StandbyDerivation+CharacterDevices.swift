/// Rules for serial ports, consoles and everything else behind a character device.
///
/// The guest sees the same device whatever stands behind it, so a connection that cannot be had twice is replaced by `null`.
extension StandbyDerivation {
    /// True when the option was dealt with.
    mutating func applyCharacterDeviceRule(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        switch argument.option {
        case "-serial", "-parallel", "-debugcon", "-virtioconsole":
            let (value, why) = substitute(forShort: argument.value ?? "")
            replace(argument, with: value, why)
        case "-chardev": try substituteLong(argument)
        default: return false
        }
        return true
    }

    /// The standby's back end for one of the short form (`file:x`, `unix:x,server`), and the reason.
    private func substitute(forShort text: String) -> (value: String, why: String) {
        let scheme = text.prefix { $0 != ":" && $0 != "," }
        if scheme == "mon" { return ("null", "the monitor on it is the primary's") }
        if ["none", "null", "vc", "chardev", "ringbuf", "msmouse", "braille"].contains(scheme) { return (text, "") }
        if isRehearsal { return ("null", "nothing of a rehearsal is seen outside") }
        let rest = String(text.dropFirst(scheme.count + 1))
        switch scheme {
        case "pty": return (text, "")
        case "file": return ("file:" + outputFile(rest), "a file of the standby's own")
        case "unix", "tcp", "telnet", "websocket": return substitute(forSocket: String(scheme), rest)
        default: return ("null", "the other end is on the primary's host")
        }
    }

    private func substitute(forSocket scheme: String, _ rest: String) -> (value: String, why: String) {
        var words = rest.split(separator: ",").map(String.init)
        let address = words.isEmpty ? "" : words.removeFirst()
        let serves = scheme == "telnet" ? !words.contains("server=off") : words.contains("server") || words.contains("server=on")
        guard serves else { return ("null", "a connection to a server is made by one QEMU only") }
        words.removeAll { ["server", "server=on", "wait", "nowait"].contains($0) || $0.hasPrefix("wait=") }
        let place = scheme == "unix" ? override(for: address) ?? privatePath(for: address) : address
        let text = (["\(scheme):\(place)"] + words + ["server=on", "wait=off"]).joined(separator: ",")
        return (text, "the standby serves it itself and waits for nobody")
    }

    private mutating func substituteLong(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "backend")
        if DeafNetwork.isOwn(value["id"]) { return drop(argument, "of an earlier takeover") }
        let why: String
        if let id = value["id"], monitorDevices.contains(id), !["null", "vc"].contains(value["backend"]) {
            (value, why) = (try nullDevice(for: value), "the monitor on it is the primary's")
        } else if isRehearsal, !Self.harmlessBackends.contains(value["backend"] ?? "") {
            (value, why) = (try nullDevice(for: value), "nothing of a rehearsal is seen outside")
        } else {
            why = try substitute(backendOf: &value)
        }
        if let log = value["logfile"] {
            if isRehearsal { value.remove("logfile", "logappend") } else { value.set("logfile", .text(outputFile(log))) }
        }
        replace(argument, with: value.text, why)
    }

    /// Back ends that reach nobody, or only the display server of the same QEMU.
    private static let harmlessBackends: Set<String> = [
        "null", "vc", "ringbuf", "msmouse", "wctablet", "braille", "testdev", "spicevmc", "spiceport", "qemu-vdagent",
    ]

    private func substitute(backendOf value: inout OptionValue) throws(HypervisorError) -> String {
        switch value["backend"] {
        case "file"?:
            if let path = value["path"] { value.set("path", .text(outputFile(path))) }
            return "a file of the standby's own"
        case "socket"? where value["fd"] == nil && value.flag("server") == true:
            if let path = value["path"] { value.set("path", .text(override(for: path) ?? privatePath(for: path))) }
            value.remove("wait", "nowait")
            value.set("server", .flag(true))
            value.set("wait", .flag(false))
            return "the standby serves it itself and waits for nobody"
        case "socket"?:
            value = try nullDevice(for: value)
            return "a connection to a server is made by one QEMU only"
        case "pty"?: return ""
        case let backend? where Self.harmlessBackends.contains(backend): return ""
        default:
            value = try nullDevice(for: value)
            return "the other end is on the primary's host"
        }
    }

    /// `null` with the id and the parts of `value` that every back end has.
    private func nullDevice(for value: OptionValue) throws(HypervisorError) -> OptionValue {
        var null = try OptionValue(parsing: "null", impliedKey: "backend")
        for key in ["id", "mux", "logfile", "logappend"] {
            if let kept = value[key] { null.set(key, .text(kept)) }
        }
        return null
    }
}
