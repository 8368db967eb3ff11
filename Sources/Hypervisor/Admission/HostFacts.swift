/// What the host offers, as far as protection depends on it.
public struct HostFacts: Codable, Sendable, Equatable {
    public var kernel: KernelVersion
    /// Whether this process may trace others (CAP_SYS_PTRACE).
    public var canTrace: Bool
    /// Whether this process may configure the network (CAP_NET_ADMIN).
    public var canAdministerNetwork: Bool
    /// Whether `/dev/net/tun` can be opened.
    public var hasTunDevice: Bool
    /// The interfaces of this process's network namespace.
    public var interfaces: [HostInterface]
    /// Whether QEMU lives in this process's network namespace.
    public var sharesNetworkNamespace: Bool

    public init(
        kernel: KernelVersion, canTrace: Bool = true, canAdministerNetwork: Bool = true, hasTunDevice: Bool = true,
        interfaces: [HostInterface] = [], sharesNetworkNamespace: Bool = true
    ) {
        self.kernel = kernel
        self.canTrace = canTrace
        self.canAdministerNetwork = canAdministerNetwork
        self.hasTunDevice = hasTunDevice
        self.interfaces = interfaces
        self.sharesNetworkNamespace = sharesNetworkNamespace
    }
}

/// The first two numbers of the kernel's release.
public struct KernelVersion: Codable, Sendable, Equatable, Comparable, CustomStringConvertible {
    public var major: Int
    public var minor: Int

    public init(major: Int, minor: Int) {
        self.major = major
        self.minor = minor
    }

    public static func < (left: KernelVersion, right: KernelVersion) -> Bool {
        (left.major, left.minor) < (right.major, right.minor)
    }

    public var description: String { "\(major).\(minor)" }
}

/// A network interface of the host.
public struct HostInterface: Codable, Sendable, Equatable {
    public var name: String
    public var index: Int
    /// The kernel's word: `tun` (also for taps), `macvtap`, `bridge`, `veth`, ...; empty for hardware.
    public var kind: String
    /// The bridge or bond it belongs to.
    public var master: String?
    /// The kind of `master`.
    public var masterKind: String?

    public init(name: String, index: Int = 0, kind: String, master: String? = nil, masterKind: String? = nil) {
        self.name = name
        self.index = index
        self.kind = kind
        self.master = master
        self.masterKind = masterKind
    }
}
