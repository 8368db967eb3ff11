/// The addresses and device names of every laboratory. Labs do not see each other, so all use the same ones.
public enum LabAddresses {
    /// The protected guest, on the client network (prefix length 24).
    public static let guest = "10.77.0.2"
    /// The client machine, on the client network.
    public static let client = "10.77.0.1"
    /// The hosts' ends of the replication network (prefix length 24).
    public static let host1Replication = "10.78.1.1"
    public static let host2Replication = "10.78.1.2"
    /// The arbiter network (prefix length 24).
    public static let arbiter = "10.78.2.3"
    public static let host1Arbiter = "10.78.2.1"
    public static let host2Arbiter = "10.78.2.2"
    /// etcd's client address.
    public static let arbiterEndpoint = "http://10.78.2.3:2379"
    public static let guestMAC = "52:54:00:77:00:02"

    /// On each host: the guest's tap, a port of `bridge`.
    public static let tap = "guest0"
    /// On each host: the bridge of guest and client link.
    public static let bridge = "br0"
    /// On each host: the links to the client network's switch, to the other host and to the arbiter.
    public static let hostClientLink = "cli0"
    public static let hostReplicationLink = "repl0"
    public static let hostArbiterLink = "arb0"
    /// In the client's namespace: the switch with the client's address, and its ports to the hosts.
    public static let clientSwitch = "sw0"
    public static let switchPortOfHost1 = "port1"
    public static let switchPortOfHost2 = "port2"
}
