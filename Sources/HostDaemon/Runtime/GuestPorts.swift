internal import Hypervisor

/// The host's ends of a guest's network cards, as records and `status` name them: the interface of a tap, or `netdev:ID` for a netdev that is
/// none. No interface can have a colon in its name.
enum GuestPorts {
    private static let prefix = "netdev:"

    static func name(netdev: String) -> String { prefix + netdev }

    /// The interfaces among `ports`.
    static func taps(_ ports: [String]) -> [String] { ports.filter { !$0.hasPrefix(prefix) } }

    /// The ids of the netdevs among `ports`.
    static func netdevs(_ ports: [String]) -> [String] {
        ports.compactMap { $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : nil }
    }
}

extension MachineDescription {
    /// The host's ends of the guest's network cards that can be held, in the cards' order.
    var portBackends: [NetworkBackend] {
        networkCards.compactMap { card in networkBackends.first { $0.id == card.backend && $0.port != nil } }
    }

    /// Their names.
    var ports: [String] { portBackends.compactMap(\.port) }

    /// Those of them that are taps, in the cards' order.
    var tapBackends: [NetworkBackend] { portBackends.filter { !$0.isFilterable } }

    /// The host's interfaces behind the guest's network cards, in the cards' order.
    var taps: [String] { tapBackends.compactMap(\.interface) }

    /// Ids of the netdevs behind the guest's network cards that are no taps, in the cards' order.
    var filteredNetdevs: [String] { portBackends.filter(\.isFilterable).map(\.id) }
}

extension NetworkBackend {
    /// What records call it; nil when what the guest sends there cannot be held.
    var port: String? {
        if isFilterable { return GuestPorts.name(netdev: id) }
        return ["tap", "bridge"].contains(type) ? interface : nil
    }
}
