import Glibc

extension NetworkInterface {
    /// The interface named `name`.
    /// - Throws: `noSuchInterface`, `kernel`.
    public static func named(_ name: String) throws(OutputRelayError) -> NetworkInterface {
        guard let found = try find(name) else {
            throw OutputRelayError(.noSuchInterface, "there is no interface \(name) in this network namespace")
        }
        return found
    }

    /// The interface named `name`; nil when there is none.
    public static func find(_ name: String) throws(OutputRelayError) -> NetworkInterface? {
        guard (1...15).contains(name.utf8.count) else { return nil }
        var socket = try NetlinkSocket()
        do throws(OutputRelayError) {
            guard let link = try socket.links(named: name, "looking up interface \(name)").first else { return nil }
            return try NetworkInterface(link, &socket)
        } catch  where error.systemCallNumber == ENODEV {
            return nil
        }
    }

    /// All interfaces of this network namespace.
    static func all() throws(OutputRelayError) -> [NetworkInterface] {
        var socket = try NetlinkSocket()
        var interfaces: [NetworkInterface] = []
        for link in try socket.links(dump: true, "listing the interfaces") { interfaces.append(try NetworkInterface(link, &socket)) }
        return interfaces
    }

    /// The bridge that `tap` is a port of; nil when it is in none.
    public static func bridge(of tap: String) throws(OutputRelayError) -> String? { try named(tap).bridge }

    /// What drives the interface named `name`.
    public static func kind(of name: String) throws(OutputRelayError) -> Kind { try named(name).kind }

    /// Attribute numbers from the kernel's `linux/if_link.h`, `linux/if_tun.h` and `linux/if_bridge.h`.
    private init(
        _ link: (index: Int32, flags: UInt32, attributes: NetlinkAttributes), _ socket: inout NetlinkSocket
    ) throws(OutputRelayError) {
        let attributes = link.attributes
        let information = attributes.nested(18)
        index = link.index
        name = attributes.text(3) ?? ""
        kind = Kind(information)
        mtu = attributes.integer(4) ?? 0
        isUp = link.flags & 0x1 != 0
        hasCarrier = attributes.integer(33, as: UInt8.self) == 1
        hasXDP = (attributes.nested(43)?.integer(2, as: UInt8.self) ?? 0) != 0
        alias = attributes.text(20) ?? ""
        address = Array(attributes[1] ?? [])
        transmitDropped = attributes[23].flatMap { $0.count >= 64 ? NetlinkAttributes.integer($0.dropFirst(56)) : nil } ?? 0
        isForwarding = information?.text(4) == "bridge" && information?.nested(5)?.integer(1, as: UInt8.self) == 3
        if information?.text(4) == "bridge", let master: Int32 = attributes.integer(10) {
            bridge = try socket.links(index: master, "looking up bridge \(master)").first?.attributes.text(3)
        } else {
            bridge = nil
        }
    }
}

extension NetworkInterface.Kind {
    fileprivate init(_ information: NetlinkAttributes?) {
        switch information?.text(1) {
        case "tun" where information?.nested(2)?.integer(3, as: UInt8.self) == 2: self = .tap
        case "macvtap": self = .macvtap
        case let other: self = .other(other ?? "")
        }
    }
}
