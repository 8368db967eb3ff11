/// Rules for the host's side of network cards.
extension StandbyDerivation {
    /// True when the option was dealt with.
    mutating func applyNetworkRule(_ argument: QEMUArgument) throws(HypervisorError) -> Bool {
        guard ["-netdev", "-nic", "-net"].contains(argument.option) else { return false }
        let value = try OptionValue(parsing: argument.value ?? "", impliedKey: "type")
        if argument.option == "-netdev", let id = value["id"], unusedNetworks.contains(id) {
            drop(argument, "its network card was taken out of the running machine")
            return true
        }
        switch value["type"] {
        case "tap"?, "bridge"?: try replaceTap(argument, value)
        case "user"?: try isolateUserNetwork(argument, value)
        case "hubport"?, "none"?, "nic"?: keep(argument)
        case let type? where NetworkBackend.filterableTypes.contains(type): try deafen(argument, value)
        case let type?:
            throw refusal(argument, "a network of type \(type) cannot be kept silent until the takeover; use a tap in a bridge")
        case nil: throw refusal(argument, "it names no type")
        }
        return true
    }

    private mutating func replaceTap(_ argument: QEMUArgument, _ primary: OptionValue) throws(HypervisorError) {
        var value = primary
        let id = primary["id"] ?? primary["name"] ?? ""
        let fact = machine.taps[id] ?? (machine.taps.count == 1 ? machine.taps.values.first : nil)
        let queues = Self.queues(of: primary) ?? fact?.queues ?? 1
        let vnetHeader = (primary.flag("vnet_hdr") ?? true) && (fact?.vnetHeader ?? true)
        let hadVhostFile = primary["vhostfd"] ?? primary["vhostfds"] != nil
        value.set("type", .text("tap"))
        value.remove("fd", "fds", "vhostfd", "vhostfds", "br", "helper", "queues")
        let name = try standbyTap(for: primary["ifname"] ?? fact?.name, argument)
        value.set("ifname", .text(name))
        value.set("script", .text("no"))
        value.set("downscript", .text("no"))
        if queues > 1 { value.set("queues", .number(queues)) }
        if !vnetHeader { value.set("vnet_hdr", .flag(false)) }
        if hadVhostFile, primary["vhost"] == nil { value.set("vhost", .flag(true)) }
        if !isRehearsal {
            if taps.contains(where: { $0.name == name }) {
                throw refusal(argument, "two network cards would share the standby's tap \(name); name distinct ones under `standby.taps`")
            }
            taps.append(
                StandbyCommandLine.Tap(
                    netdev: id, primary: primary["ifname"] ?? fact?.name, name: name, vnetHeader: vnetHeader, queues: queues))
        }
        let why =
            isRehearsal
            ? "a throwaway tap in no bridge has the same offloads and reaches nobody"
            : "Understudy prepares the tap and keeps it deaf until the takeover; no script runs"
        replace(argument, with: value.text, why)
    }

    /// The same way out on the standby's host, which neither hears nor says anything before the takeover.
    private mutating func deafen(_ argument: QEMUArgument, _ primary: OptionValue) throws(HypervisorError) {
        guard argument.option == "-netdev", let id = primary["id"] else {
            throw refusal(argument, "the network needs an id: use -netdev with id= and -device with netdev=")
        }
        if isRehearsal {
            // The number of a hub that nobody else has: its only port is the card's.
            let value = "hubport,id=\(id),hubid=\(7641 + deafNetworks.count)"
            deafNetworks.append(id)
            return replace(argument, with: value, "nothing of a rehearsal is seen outside")
        }
        var value = primary
        if let chosen = overrides.netdevs[id] {
            value = try OptionValue(parsing: chosen, impliedKey: "type")
            value.set("id", .text(id))
        } else if value["fd"] ?? value[nested: "addr.str"] ?? value[nested: "local.str"] != nil {
            throw refusal(
                argument, "open sockets cannot be handed to a standby; name the address, or the standby's under `standby.netdevs`")
        } else {
            try value.rewrite(key: "path") { (path) throws(HypervisorError) in override(for: path) ?? absolute(path) }
        }
        deafNetworks.append(id)
        replace(argument, with: value.text, "the standby's host has its own way to the network")
        for (option, value) in DeafNetwork.arguments(for: id) {
            add(option, value, "the standby hears and says nothing before the takeover")
        }
    }

    private static func queues(of value: OptionValue) -> Int? {
        if let list = value["fds"] { return list.split(separator: ":").count }
        return value["queues"].flatMap(Int.init)
    }

    private mutating func standbyTap(for primary: String?, _ argument: QEMUArgument) throws(HypervisorError) -> String {
        if isRehearsal {
            throwawayTaps += 1
            return Self.throwawayName("\(runtimeFolder)/\(name)/\(throwawayTaps)")
        }
        guard let primary else {
            throw refusal(
                argument,
                "the name of its interface is not known; give the netdev an id or its ifname, or name the standby's tap under `append`")
        }
        let chosen = overrides.taps[primary] ?? primary
        guard (1...15).contains(chosen.utf8.count), !chosen.contains("/"), !chosen.contains("%") else {
            throw refusal(argument, "\"\(chosen)\" cannot be an interface's name; at most 15 characters")
        }
        return chosen
    }

    /// An interface name that follows from `seed` and is hardly used by anyone else (FNV-1a).
    static func throwawayName(_ seed: String) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in seed.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let digits = String(hash, radix: 16)
        let padded = String(repeating: "0", count: 16 - digits.count) + digits
        return "usr" + padded.suffix(12)
    }

    private mutating func isolateUserNetwork(_ argument: QEMUArgument, _ primary: OptionValue) throws(HypervisorError) {
        var value = primary
        if isRehearsal {
            value.remove("hostfwd", "guestfwd", "smb", "smbserver", "tftp", "bootfile")
            value.set("restrict", .flag(true))
            return replace(argument, with: value.text, "nothing of a rehearsal is seen outside")
        }
        warnings.append("a network of type user ends the guest's connections at a takeover")
        for key in ["smb", "tftp"] { try rewriteInput(key, in: &value, of: argument) }
        replace(argument, with: value.text, "files of the standby's host")
    }
}
