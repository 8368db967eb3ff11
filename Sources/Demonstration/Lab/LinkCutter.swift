import Glibc
import Synchronization

/// Sets all links of a host down with one prepared netlink request (rtnetlink(7)) and kills processes right after.
///
/// The links form a device group, so that the kernel takes its lock once: whatever else holds that lock delays the death as a whole
/// and cannot come between two links.
final class LinkCutter: Sendable {
    /// The device group of a host's links to the outside.
    static let group: UInt32 = 77

    private let host: String
    private let request = LinkCutter.setGroup(up: false)
    /// The socket in the host's namespace; nil when it has been closed, since it would keep the namespace alive.
    private let socket: Mutex<Int32?>

    init(host: LabHost) throws(DemonstrationError) {
        self.host = host.name
        let opened = try host.run { () throws(DemonstrationError) -> Int32 in
            let routeProtocol: Int32 = 0
            let socket = Glibc.socket(AF_NETLINK, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), routeProtocol)
            guard socket >= 0 else { throw LabSystem.failure(.network, "cannot open a netlink socket in \(host.name)") }
            return socket
        }
        socket = Mutex(opened)
    }

    func close() {
        socket.withLock { socket in
            if let open = socket { Glibc.close(open) }
            socket = nil
        }
    }

    func kill(pids: [pid_t]) throws(DemonstrationError) -> HostDeath {
        try socket.withLock { (socket) throws(DemonstrationError) in
            guard let socket else { throw DemonstrationError(.network, "the lab of \(host) has been destroyed") }
            let started = MonotonicTime.now()
            // The kernel carries the request out before send returns; its answer is then waiting.
            guard send(socket, request, request.count, 0) == request.count else {
                throw LabSystem.failure(.network, "cannot set the links of \(host) down")
            }
            let down = MonotonicTime.now()
            try checkAnswer(socket)
            for pid in pids { Glibc.kill(pid, SIGKILL) }
            return HostDeath(startedAt: started, linksDownAt: down, killedAt: MonotonicTime.now())
        }
    }

    /// Sets the links up again.
    func revive() throws(DemonstrationError) {
        try socket.withLock { (socket) throws(DemonstrationError) in
            guard let socket else { throw DemonstrationError(.network, "the lab of \(host) has been destroyed") }
            let up = LinkCutter.setGroup(up: true)
            guard send(socket, up, up.count, 0) == up.count else { throw LabSystem.failure(.network, "cannot set the links of \(host) up") }
            try checkAnswer(socket)
        }
    }

    private func checkAnswer(_ socket: Int32) throws(DemonstrationError) {
        var answer = [UInt8](repeating: 0, count: 4096)
        let count = recv(socket, &answer, answer.count, Int32(MSG_DONTWAIT))
        // nlmsghdr (16 bytes), then the negated errno; 0 acknowledges.
        guard count >= 20 else { throw LabSystem.failure(.network, "no answer to setting the links of \(host)") }
        let code = answer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 16, as: Int32.self) }
        guard code == 0 else { throw LabSystem.failure(.network, "cannot set the links of \(host)", errno: -code) }
    }

    /// One RTM_NEWLINK request without a device but with a group, that clears or sets IFF_UP: nlmsghdr, ifinfomsg and the attribute
    /// IFLA_GROUP, 40 bytes, native byte order.
    private static func setGroup(up: Bool) -> [UInt8] {
        let newLink: UInt16 = 16
        let requestAndAcknowledge: UInt16 = 0x1 | 0x4
        let groupAttribute: UInt16 = 27
        var message = [UInt8]()
        func append(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value) { message.append(contentsOf: $0) } }
        append(UInt32(40))
        append(newLink)
        append(requestAndAcknowledge)
        append(UInt32(1))  // sequence
        append(UInt32(0))  // sender: the kernel fills it in
        append(UInt32(0))  // family and device type: any
        append(UInt32(0))  // no device: the group's
        append(UInt32(up ? 1 : 0))  // flags: IFF_UP
        append(UInt32(1))  // change mask: IFF_UP
        append(UInt16(8))
        append(groupAttribute)
        append(group)
        return message
    }
}
