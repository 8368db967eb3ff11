import Demonstration
import Testing

/// A second network of a laboratory: on each host a bridge of its own with a tap and a link to a switch at the client, and the guest's second
/// network card on it.
struct SecondNetwork {
    static let tap = "guest1"
    static let bridge = "br1"
    static let hostLink = "cli1"
    static let clientSwitch = "sw1"
    static let switchPorts = (first: "port3", second: "port4")
    static let guest = "10.79.0.2"
    static let client = "10.79.0.1"
    static let guestMAC = "52:54:00:79:00:02"
    /// Its devices on a host.
    static let interfaces: Set<String> = [tap, bridge, hostLink]
    /// The device group of a host's links to the outside, which all go down when the host dies.
    private static let group = "77"

    /// QEMU's model of the second card.
    var model = "e1000"
    /// The module of the guest's kernel that drives it; nil when it is the first card's.
    var module: String? = "e1000"
    var queues = 1
    /// The card is on no tap but on `-netdev stream`, connected to a `StreamSwitch`.
    var isSwitched = false

    /// ... but on `-netdev dgram`, by which each host reaches the switch from a socket of its own.
    var usesDatagrams = false

    static let switched = SecondNetwork(model: "virtio-net-pci", module: nil, isSwitched: true)
    static let datagrams = SecondNetwork(isSwitched: true, usesDatagrams: true)
    static let multiqueue = SecondNetwork(model: "virtio-net-pci,mq=on,vectors=6", module: nil, queues: 2)

    /// - Returns: the switch, which has to be stopped, where there is one.
    func build(in lab: Lab) throws -> StreamSwitch? {
        try lab.client.tool("ip", "link", "add", Self.clientSwitch, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        try lab.client.tool("ip", "link", "set", Self.clientSwitch, "up")
        if isSwitched {
            try lab.client.tool("ip", "addr", "add", "\(Self.client)/24", "dev", Self.clientSwitch)
            let streamSwitch = try StreamSwitch(in: lab)
            try lab.client.tool("ip", "link", "set", StreamSwitch.uplink, "master", Self.clientSwitch, "up")
            return streamSwitch
        }
        for (host, port) in [(lab.host1, Self.switchPorts.first), (lab.host2, Self.switchPorts.second)] {
            try host.tool("ip", "link", "add", Self.hostLink, "type", "veth", "peer", "name", port, "netns", lab.client.namespace)
            try lab.client.tool("ip", "link", "set", port, "master", Self.clientSwitch, "up")
            let tap = ["ip", "tuntap", "add", "dev", Self.tap, "mode", "tap", "vnet_hdr"] + (queues > 1 ? ["multi_queue"] : [])
            try host.tool("sh", "-c", tap.joined(separator: " "))
            try host.tool("ip", "link", "add", Self.bridge, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
            try host.tool("ip", "link", "set", Self.bridge, "up")
            try host.tool("ip", "link", "set", Self.hostLink, "group", Self.group)
            for port in [Self.tap, Self.hostLink] { try host.tool("ip", "link", "set", port, "master", Self.bridge, "up") }
        }
        try lab.client.tool("ip", "addr", "add", "\(Self.client)/24", "dev", Self.clientSwitch)
        return nil
    }

    func addCard(to launch: inout GuestLaunch, in lab: Lab) {
        launch.furtherAddresses = ["\(Self.guest)/24"]
        if let module { launch.modules.append(module) }
        let tap = "tap,id=net1,ifname=\(Self.tap),script=no,downscript=no" + (queues > 1 ? ",queues=\(queues)" : "")
        launch.furtherArguments += [
            "-netdev", isSwitched ? way(from: lab.host1, in: lab, id: "id=net1,") : tap,
            "-device", "\(model),netdev=net1,mac=\(Self.guestMAC),romfile=",
        ]
    }

    /// How the host's QEMU reaches the switch.
    private func way(from host: LabHost, in lab: Lab, id: String) -> String {
        guard usesDatagrams else { return "stream,\(id)server=off,addr.type=unix,addr.path=\(StreamSwitch.path(in: lab))" }
        return
            "dgram,\(id)local.type=unix,local.path=\(host.folder)/net1,remote.type=unix,remote.path=\(StreamSwitch.datagramPath(in: lab))"
    }

    /// What the second host's configuration says of its standbys.
    func standby(in lab: Lab) -> [String: String] {
        guard usesDatagrams else { return [:] }
        return [lab.host2.name: "[standby.netdevs]\nnet1 = \"\(way(from: lab.host2, in: lab, id: ""))\""]
    }

    /// Hears the guest's second card at both switch ports.
    static func startSniffer(in lab: Lab) throws -> FrameSniffer {
        try FrameSniffer.start(in: lab.client, interfaces: [switchPorts.first, switchPorts.second], mac: guestMAC)
    }
}

extension ProtectedLab {
    /// Replies that the second card's clients have heard so far.
    var furtherReplies: Int { furtherClients?.progress.reduce(0) { $0 + $1.received } ?? 0 }

    /// Nothing is committed any more and the second card's gate does not hold: after the death of the first host the judgement of that
    /// card's clients sees it, and the first card's are unharmed.
    func expectTheSecondCardToBeFoundOut() throws {
        let seen = furtherReplies
        try wait(seconds: 7, for: "uncommitted replies of the second card") { furtherReplies >= seen + 10 }
        try killFirstHost()
        try awaitTakeover(seconds: 60)
        try awaitReplies(after: MonotonicTime.now(), of: clients, seconds: 60)
        let verdicts = try verdicts(drainSeconds: 2)
        // What waited for seconds may still be on its way to the first card's clients.
        let first = verdicts[0]
        #expect(first.connectionSurvived && first.chainViolations == 0 && first.duplicated == 0, "\(first.json)")
        #expect(!verdicts[1].passed && verdicts[1].chainViolations > 0, "\(verdicts[1].json)")
    }
}
