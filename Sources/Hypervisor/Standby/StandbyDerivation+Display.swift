/// Rules for screens and sound.
extension StandbyDerivation {
    /// True when the option was dealt with.
    mutating func applyDisplayRule(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        switch argument.option {
        case "-display": replaceDisplay(argument)
        case "-nographic":
            hasDisplay = true
            keep(argument)
        case "-vnc": replaceVNC(argument)
        case "-spice": try replaceSpice(argument)
        case "-sdl", "-gtk", "-curses", "-full-screen", "-alt-grab", "-ctrl-grab", "-no-frame", "-no-quit", "-show-cursor":
            drop(argument, "a host's daemon has no screen")
        case "-audiodev", "-audio": try silence(argument)
        default: return false
        }
        return true
    }

    private mutating func replaceDisplay(_ argument: QEMUArgument) {
        let text = argument.value ?? ""
        hasDisplay = true
        if text.hasPrefix("vnc="), !isRehearsal { return keep(argument) }
        replace(argument, with: "none", isRehearsal ? "nothing of a rehearsal is seen outside" : "a host's daemon has no screen")
    }

    private mutating func replaceVNC(_ argument: QEMUArgument) {
        if isRehearsal { return drop(argument, "nothing of a rehearsal is seen outside") }
        var words = (argument.value ?? "").split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        if words.contains("reverse") || words.contains("reverse=on") {
            return drop(argument, "a connection to a viewer is made by one QEMU only")
        }
        if let address = words.first, address.hasPrefix("unix:") {
            let path = String(address.dropFirst(5))
            words[0] = "unix:" + (override(for: path) ?? privatePath(for: path))
        }
        replace(argument, with: words.joined(separator: ","), "a socket of the standby's own")
    }

    /// A rehearsal keeps the server, without which its devices (qxl, spicevmc) do not start, on a private socket.
    private mutating func replaceSpice(_ argument: QEMUArgument) throws(HypervisorError) {
        let value = try OptionValue(parsing: argument.value ?? "", impliedKey: "port")
        if isRehearsal {
            let path = OptionValue.escaped("\(runtimeFolder)/\(name).spice")
            return replace(argument, with: "unix=on,addr=\(path),disable-ticketing=on", "nothing of a rehearsal is seen outside")
        }
        guard value.flag("unix") == true, let path = value["addr"] else { return keep(argument) }
        var own = value
        own.set("addr", .text(override(for: path) ?? privatePath(for: path)))
        replace(argument, with: own.text, "a socket of the standby's own")
    }

    private mutating func silence(_ argument: QEMUArgument) throws(HypervisorError) {
        var value = try OptionValue(parsing: argument.value ?? "", impliedKey: "driver")
        if value["driver"] == "spice" || value["driver"] == "none" { return keep(argument) }
        var silent = try OptionValue(parsing: "none", impliedKey: "driver")
        for key in ["id", "model", "timer-period"] {
            if let kept = value[key] { silent.set(key, .text(kept)) }
        }
        value = silent
        replace(argument, with: value.text, "a host's daemon has no sound")
    }
}
