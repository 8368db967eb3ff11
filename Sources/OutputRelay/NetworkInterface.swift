/// One network interface as the kernel describes it (RTM_GETLINK), in the calling thread's network namespace.
public struct NetworkInterface: Sendable, Equatable {
    /// What drives an interface.
    public enum Kind: Sendable, Equatable {
        /// A tap of the tun driver: frames of Ethernet, can be gated.
        case tap
        /// A macvtap: bypasses the classifiers, cannot be gated.
        case macvtap
        /// Anything else, by the kernel's name for it ("bridge", "veth", "tun"; empty for hardware).
        case other(String)
    }

    /// The kernel's number of the interface in this namespace.
    public let index: Int32
    /// Its name, at most 15 bytes.
    public let name: String
    public let kind: Kind
    /// The bridge it is a port of; nil when it is in none.
    public let bridge: String?
    /// Bytes of payload per frame.
    public let mtu: UInt32
    /// Administratively up.
    public let isUp: Bool
    /// Somebody holds the tap open, or the cable is in.
    public let hasCarrier: Bool
    /// A bridge port in state *forwarding*.
    public let isForwarding: Bool
    /// An XDP program is attached.
    public let hasXDP: Bool
    /// Its own MAC address, 6 bytes (empty when it has none).
    public let address: [UInt8]
    /// The operator's or the daemon's remark on it (`ip link ... alias`); empty when there is none.
    public let alias: String
    /// Frames that the kernel dropped on their way out through this interface (for a tap: to the process that holds it).
    public let transmitDropped: UInt64
}
