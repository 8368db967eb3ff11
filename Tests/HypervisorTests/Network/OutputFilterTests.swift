import Glibc
import QMP
import Testing

@testable import Hypervisor

/// The filter that holds the output of a card on no tap, in a real QEMU without a guest: its card's announcements are what is sent.
@Suite(.serialized, .enabled(if: TestMachine.isAvailable, "needs root and QEMU"))
struct OutputFilterTests {
    /// What a netdev leads to.
    private final class Peer {
        static let address: [UInt8] = [0x52, 0x54, 0, 0x55, 0, 1]
        private(set) var netdev = ""
        private let socket: Int32
        private var connection: Int32 = -1
        private let isStream: Bool
        private let folder: String

        init(_ kind: String) throws {
            isStream = kind == "stream"
            var template = Array("/tmp/understudy-peer.XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else { throw TestFailure("mkdtemp failed") }
            folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            switch kind {
            case "stream":
                socket = try Self.local("\(folder)/peer", SOCK_STREAM)
                guard listen(socket, 1) == 0 else { throw TestFailure("listen failed") }
                netdev = "stream,id=n0,server=off,addr.type=unix,addr.path=\(folder)/peer"
            case "dgram":
                socket = try Self.local("\(folder)/peer", SOCK_DGRAM)
                netdev = "dgram,id=n0,local.type=unix,local.path=\(folder)/own,remote.type=unix,remote.path=\(folder)/peer"
            default:
                let (socket, port) = try Self.datagram()
                self.socket = socket
                netdev = "socket,id=n0,udp=127.0.0.1:\(port),localaddr=127.0.0.1:0"
            }
        }

        deinit {
            close(socket)
            if connection >= 0 { close(connection) }
            for name in ["peer", "own"] { unlink("\(folder)/\(name)") }
            rmdir(folder)
        }

        private static func local(_ path: String, _ type: __socket_type) throws -> Int32 {
            let socket = Glibc.socket(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
            let bound = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
            }
            guard bound == 0 else { throw TestFailure("bind failed: \(errno)") }
            return socket
        }

        private static func datagram() throws -> (socket: Int32, port: UInt16) {
            let socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let bound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(socket, $0, size) == 0 && getsockname(socket, $0, &size) == 0
                }
            }
            guard bound else { throw TestFailure("bind failed: \(errno)") }
            return (socket, UInt16(bigEndian: address.sin_port))
        }

        /// The next frame; nil when none comes for a while.
        func frame(within milliseconds: Int32) throws -> [UInt8]? {
            if isStream, connection < 0 { connection = accept(socket, nil, nil) }
            let source = isStream ? connection : socket
            var wait = pollfd(fd: source, events: Int16(POLLIN), revents: 0)
            guard poll(&wait, 1, milliseconds) > 0 else { return nil }
            if isStream { return try read(frameFrom: source) }
            var bytes = [UInt8](repeating: 0, count: 2048)
            let count = recv(source, &bytes, bytes.count, 0)
            return count > 0 ? Array(bytes[..<count]) : nil
        }
    }

    private static func read(frameFrom source: Int32) throws -> [UInt8] {
        func take(_ count: Int) throws -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: count)
            guard recv(source, &bytes, count, Int32(MSG_WAITALL)) == count else { throw TestFailure("the connection ended") }
            return bytes
        }
        return try take(take(4).reduce(0) { $0 << 8 | Int($1) })
    }

    private func machine(_ peer: Peer, _ more: [String] = []) throws -> TestMachine {
        try TestMachine(["-netdev", peer.netdev, "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:55:00:01,romfile="] + more)
    }

    private func announce(_ qmp: QMPClient) throws {
        try qmp.execute("announce-self", arguments: ["initial": 50, "max": 50, "rounds": 1, "step": 10])
    }

    /// QEMU connects in its own time, and drops what is sent before.
    private func awaitConnection(of peer: Peer, _ qmp: QMPClient) throws {
        let end = ContinuousClock.now + .seconds(60)
        repeat {
            guard ContinuousClock.now < end else { throw TestFailure("the netdev does not connect") }
            try announce(qmp)
        } while try peer.frame(within: 500) == nil
        while try peer.frame(within: 200) != nil {}
    }

    private func isHeard(_ frame: [UInt8]?) -> Bool { frame?.dropFirst(6).prefix(6).elementsEqual(Peer.address) == true }

    private func ours(_ qmp: QMPClient) throws -> [String] {
        try (OutputFilter.objects(qmp) + OutputFilter.characterDevices(qmp)).filter { $0.hasPrefix("understudy") }
    }

    @Test(arguments: ["stream", "dgram", "socket"])
    func `What the guest sends is held inside QEMU, also when the daemon has died`(kind: String) throws {
        let peer = try Peer(kind)
        let machine = try machine(peer)
        let qmp = try machine.connect()
        try awaitConnection(of: peer, qmp)
        let found = try MachineDescription.read(from: qmp)
        #expect(found.networkBackends.map(\.type) == [kind] && found.networkCards.map(\.backend) == ["n0"])

        let filter = OutputFilter(netdev: "n0")
        let (fromGuest, toNetwork) = try filter.attach(qmp)
        #expect(try !filter.isHolding(qmp))
        try announce(qmp)
        #expect(isHeard(try peer.frame(within: 10_000)), "a filter that is off changes nothing")
        try filter.hold(true, qmp)
        try announce(qmp)
        let held = try Self.read(frameFrom: fromGuest)
        #expect(isHeard(held))
        #expect(try filter.isHolding(qmp) && peer.frame(within: 300) == nil)
        let whole = withUnsafeBytes(of: UInt32(held.count).bigEndian, Array.init) + held
        #expect(send(toNetwork, whole, whole.count, 0) == whole.count)
        #expect(try peer.frame(within: 10_000) == held, "what comes back goes its way")

        // The daemon dies.
        close(fromGuest)
        close(toNetwork)
        try announce(qmp)
        #expect(try peer.frame(within: 300) == nil)
        #expect(try filter.isHolding(qmp))
        try filter.detach(qmp)
        #expect(try ours(qmp) == [])
        try announce(qmp)
        #expect(isHeard(try peer.frame(within: 10_000)))
    }

    @Test func `A filter that cannot be put in leaves nothing`() throws {
        let peer = try Peer("stream")
        let machine = try machine(peer)
        let qmp = try machine.connect()
        try awaitConnection(of: peer, qmp)
        #expect(try DeafNetwork.errors(of: ["n0"], qmp) == [])
        #expect(throws: HypervisorError.self) { try OutputFilter(netdev: "other").attach(qmp) }
        #expect(try ours(qmp) == [])
    }

    @Test func `A netdev that leads nowhere is told`() throws {
        let machine = try TestMachine([
            "-netdev", "stream,id=n0,server=off,addr.type=unix,addr.path=/nowhere", "-device", "e1000,netdev=n0,romfile=",
        ])
        let qmp = try machine.connect()
        let end = ContinuousClock.now + .seconds(60)
        while try DeafNetwork.errors(of: ["n0"], qmp).isEmpty { try #require(ContinuousClock.now < end) }
        #expect(try DeafNetwork.errors(of: ["n0"], qmp)[0].hasPrefix("n0: "))
    }

    @Test func `A standby's netdev says nothing before it is opened`() throws {
        let peer = try Peer("stream")
        let machine = try machine(peer, DeafNetwork.arguments(for: "n0").flatMap { [$0.option, $0.value] })
        let qmp = try machine.connect()
        for _ in 0..<3 {
            try announce(qmp)
            #expect(try peer.frame(within: 300) == nil)
        }
        try DeafNetwork.open(qmp)
        try awaitConnection(of: peer, qmp)
        try DeafNetwork.tidy(qmp)
        #expect(try ours(qmp) == [])
        // Once more changes nothing.
        try DeafNetwork.open(qmp)
        try DeafNetwork.tidy(qmp)
    }
}
