import Glibc

extension Clients {
    private static let millisecond: UInt64 = 1_000_000

    static func start(in host: LabHost, guest: String) throws(DemonstrationError) -> Clients {
        let sockets = try host.run { () throws(DemonstrationError) in try openSockets(guest) }
        // Distinct between runs against the same guest, so that an old reply is never taken for a new one.
        let first = UInt64.random(in: 1...UInt64.max / 2)
        return Clients(workers: [
            try StreamClient(kind: .tcpPipelined, client: first, socket: sockets[0], period: 5 * millisecond, awaitsReply: false),
            // Without a hold a reply takes 0.2 ms: a pause then keeps the client from using up a core. With a hold it sends at once.
            try StreamClient(kind: .tcpPingPong, client: first + 1, socket: sockets[1], period: 2 * millisecond, awaitsReply: true),
            try DatagramClient(kind: .udpSlow, client: first + 2, socket: sockets[2], period: 10 * millisecond),
            try DatagramClient(kind: .udpFast, client: first + 3, socket: sockets[3], period: 5 * millisecond),
        ])
    }

    private static func openSockets(_ guest: String) throws(DemonstrationError) -> [Int32] {
        var sockets = [Int32]()
        for kind in ClientKind.allCases {
            let socket =
                kind.isStream
                ? ClientSocket.connect(to: guest, port: ServiceProtocol.streamPort, milliseconds: 10_000)
                : ClientSocket.datagram(to: guest, port: ServiceProtocol.datagramPort)
            guard let socket else {
                for open in sockets { close(open) }
                throw DemonstrationError(.timeout, "the guest's service at \(guest) does not answer (\(kind.rawValue))")
            }
            sockets.append(socket)
        }
        return sockets
    }
}
