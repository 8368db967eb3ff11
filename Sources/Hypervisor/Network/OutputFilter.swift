import Glibc
public import QMP

/// QEMU's part of the output gate of a card whose netdev is no tap: one `filter-redirector` with two sockets.
///
/// Everything that the guest sends reaches the filter before the netdev (`queue=rx`: what the netdev receives), goes out through the one
/// socket, and comes back through the other behind the filter. A filter that is on and whose socket has no other end drops: that is what a dead
/// daemon leaves, and it stays so until a later one takes the filter away. Frames for the guest do not come by here.
///
/// The sockets are handed to QEMU, so that nothing has to be reached by a path. Source: QEMU `qapi/qom.json`, `net/filter-mirror.c`.
public struct OutputFilter: Sendable, Equatable {
    /// Id of the netdev.
    public let netdev: String

    private static let prefix = "understudy-gate-"
    private var name: String { Self.prefix + netdev }
    private var path: String { "/objects/\(name)" }
    private var outDevice: String { "understudy-out-\(netdev)" }
    private var inDevice: String { "understudy-in-\(netdev)" }

    /// Bytes that may wait in each socket. QEMU stands still while it wants to write to a full one, so this bounds what a daemon that does not
    /// run for a moment does to a guest that sends; memory is taken for what waits only.
    private static let socketBytes: Int32 = 64 << 20

    public init(netdev: String) { self.netdev = netdev }

    /// Puts the filter in, turned off: nothing changes for the guest. On an error nothing is left.
    ///
    /// - Returns: the other ends of its sockets, which the caller closes: frames of the guest, and frames for the network.
    public func attach(_ qmp: QMPClient) throws(HypervisorError) -> (fromGuest: CInt, toNetwork: CInt) {
        let (fromGuest, guestEnd) = try Self.socketPair()
        defer { close(guestEnd) }
        do throws(HypervisorError) {
            let (toNetwork, networkEnd) = try Self.socketPair()
            defer { close(networkEnd) }
            do throws(HypervisorError) {
                try addDevice(outDevice, guestEnd, qmp)
                try addDevice(inDevice, networkEnd, qmp)
                try Self.ask(
                    qmp, "object-add",
                    [
                        "qom-type": "filter-redirector", "id": .string(name), "netdev": .string(netdev), "queue": "rx",
                        "outdev": .string(outDevice), "indev": .string(inDevice), "status": "off",
                    ])
                return (fromGuest, toNetwork)
            } catch {
                close(toNetwork)
                throw error
            }
        } catch {
            close(fromGuest)
            // What could not be made is told; what was made before goes.
            try detach(qmp)
            throw error
        }
    }

    private func addDevice(_ id: String, _ descriptor: CInt, _ qmp: QMPClient) throws(HypervisorError) {
        try Self.ask(qmp, "getfd", ["fdname": .string(id)], passing: descriptor)
        let address: JSONValue = ["type": "fd", "data": ["str": .string(id)]]
        let backend: JSONValue = ["type": "socket", "data": ["addr": address, "server": false]]
        try Self.ask(qmp, "chardev-add", ["id": .string(id), "backend": backend])
    }

    private static func socketPair() throws(HypervisorError) -> (own: CInt, other: CInt) {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw HypervisorError(.systemCall, "making a socket for the output filter failed: \(String(cString: strerror(errno)))")
        }
        var bytes = socketBytes
        for end in ends {
            // Without the privilege the limit of the system holds, which is a smaller reserve and no error.
            setsockopt(end, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, socklen_t(MemoryLayout<Int32>.size))
        }
        return (ends[0], ends[1])
    }

    /// Turns the filter on or off; one that has gone is off.
    public func hold(_ isOn: Bool, _ qmp: QMPClient) throws(HypervisorError) {
        if !isOn, try !Self.objects(qmp).contains(name) { return }
        try Self.ask(qmp, "qom-set", ["path": .string(path), "property": "status", "value": isOn ? "on" : "off"])
    }

    /// Whether the filter is there and on: with a living daemon it gives frames out, without one it drops them.
    ///
    /// - Parameter timeout: for each of two questions.
    public func isHolding(_ qmp: QMPClient, timeout: Duration = .seconds(10)) throws(HypervisorError) -> Bool {
        guard try Self.objects(qmp, timeout: timeout).contains(name) else { return false }
        return try Self.ask(qmp, "qom-get", ["path": .string(path), "property": "status"], timeout: timeout).string != "off"
    }

    /// Takes away whatever of the filter is there. This **opens** a gate: what the guest sends goes to the netdev again.
    public func detach(_ qmp: QMPClient) throws(HypervisorError) {
        if try Self.objects(qmp).contains(name) {
            try Self.ask(qmp, "object-del", ["id": .string(name)])
        }
        let devices = try Self.characterDevices(qmp)
        for device in [outDevice, inDevice] where devices.contains(device) {
            try Self.ask(qmp, "chardev-remove", ["id": .string(device)])
        }
    }

    static func objects(_ qmp: QMPClient, timeout: Duration = .seconds(10)) throws(HypervisorError) -> [String] {
        try (ask(qmp, "qom-list", ["path": "/objects"], timeout: timeout).array ?? []).compactMap { $0["name"]?.string }
    }

    static func characterDevices(_ qmp: QMPClient) throws(HypervisorError) -> [String] {
        try (ask(qmp, "query-chardev").array ?? []).compactMap { $0["label"]?.string }
    }

    @discardableResult
    static func ask(
        _ qmp: QMPClient, _ command: String, _ arguments: JSONValue? = nil, passing descriptor: CInt? = nil,
        timeout: Duration = .seconds(10)
    ) throws(HypervisorError) -> JSONValue {
        try monitor { () throws(QMPError) in try qmp.execute(command, arguments: arguments, passing: descriptor, timeout: timeout) }
    }
}

extension HypervisorError.Code {
    /// A filter that another daemon put in holds the guest's output.
    public static let outputHeld = Self(rawValue: "outputHeld")
}

extension NetworkBackend {
    /// Whether the netdev leads to something that outlives this host, and what the guest sends there can be held inside QEMU.
    public var isFilterable: Bool { Self.filterableTypes.contains(type) }

    static let filterableTypes: Set<String> = ["stream", "dgram", "socket"]
}
