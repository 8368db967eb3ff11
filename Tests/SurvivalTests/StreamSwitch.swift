import Demonstration
import Glibc
import LinuxShim
import Synchronization

/// A switch that belongs to neither host: QEMUs connect to its Unix socket (`-netdev stream`) or send to another one (`-netdev dgram`), and its
/// uplink is a tap in the client's namespace. It learns where each address is, as switches do, and drops what a port does not take.
final class StreamSwitch: Sendable {
    private struct Port {
        let descriptor: Int32
        /// Where datagrams for this port go.
        var address: sockaddr_un?
        /// What came and is no whole frame yet.
        var incoming: [UInt8] = []
        /// What the port did not take yet.
        var outgoing: [UInt8] = []
        var isGone = false
    }

    /// The uplink in the client's namespace.
    static let uplink = "uplink"
    /// Bytes before a frame of the uplink.
    private static let tapHeader = 12
    private static let roomPerPort = 1 << 20

    let path: String
    private let listener: Int32
    private let datagrams: Int32
    private let tap: Int32
    private let stopped = Atomic<Bool>(false)
    private let counted = Mutex<[UInt64]>([])

    /// Frames from each QEMU that ever connected, in the order of their connections.
    var frames: [UInt64] { counted.withLock { $0 } }

    init(in lab: Lab) throws {
        path = Self.path(in: lab)
        tap = try lab.client.run { () throws(DemonstrationError) in
            let tap = understudy_tap_open(Self.uplink, 0, Int32(Self.tapHeader), 0)
            guard tap >= 0 else { throw DemonstrationError(.network, "the switch's uplink cannot be made: \(-tap)") }
            return tap
        }
        listener = try Self.bound(path, SOCK_STREAM)
        datagrams = try Self.bound(Self.datagramPath(in: lab), SOCK_DGRAM)
        guard listen(listener, 16) == 0 else { throw SurvivalFailure("the switch cannot listen at \(path): errno \(errno)") }
        StreamProxy.detach { [self] in run() }
    }

    static func path(in lab: Lab) -> String { "\(lab.folder)/switch.sock" }
    static func datagramPath(in lab: Lab) -> String { "\(lab.folder)/switch.dgram" }

    private static func bound(_ path: String, _ type: __socket_type) throws -> Int32 {
        let socket = Glibc.socket(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        guard with(&address, { bind(socket, $0, $1) }) == 0 else { throw SurvivalFailure("the switch cannot bind \(path): errno \(errno)") }
        return socket
    }

    private static func with<Result>(_ address: inout sockaddr_un, _ body: (UnsafeMutablePointer<sockaddr>, socklen_t) -> Result) -> Result
    {
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }

    func stop() { stopped.store(true, ordering: .releasing) }

    private func run() {
        var ports: [Port] = [Port(descriptor: tap)]
        var places: [[UInt8]: Int] = [:]
        while !stopped.load(ordering: .acquiring) {
            var waits = [listener, datagrams].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            waits += ports.map { port in
                let events = POLLIN | (port.outgoing.isEmpty ? 0 : POLLOUT)
                return pollfd(fd: port.isGone || port.address != nil ? -1 : port.descriptor, events: Int16(events), revents: 0)
            }
            guard poll(&waits, nfds_t(waits.count), 100) > 0 else { continue }
            for index in waits.indices.dropLast(2) where waits[index + 2].revents != 0 {
                flush(&ports[index])
                for frame in read(&ports[index], isTap: index == 0) { forward(frame, from: index, &ports, &places) }
            }
            if waits[1].revents != 0 { takeDatagram(&ports, &places) }
            if waits[0].revents != 0 {
                let connection = accept(listener, nil, nil)
                _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
                _ = fcntl(connection, F_SETFL, O_NONBLOCK)
                if connection >= 0 {
                    ports.append(Port(descriptor: connection))
                    counted.withLock { $0.append(0) }
                }
            }
        }
        for port in ports where !port.isGone && port.address == nil { close(port.descriptor) }
        close(listener)
        close(datagrams)
        unlink(path)
    }

    private func takeDatagram(_ ports: inout [Port], _ places: inout [[UInt8]: Int]) {
        var buffer = [UInt8](repeating: 0, count: 128 << 10)
        var address = sockaddr_un()
        let count = Self.with(&address) { pointer, size in
            var size = size
            return recvfrom(datagrams, &buffer, buffer.count, 0, pointer, &size)
        }
        guard count > 0 else { return }
        func path(_ address: sockaddr_un) -> [UInt8] { withUnsafeBytes(of: address.sun_path) { Array($0.prefix { $0 != 0 }) } }
        var index = ports.firstIndex { $0.address.map(path) == path(address) }
        if index == nil {
            index = ports.count
            ports.append(Port(descriptor: datagrams, address: address))
            counted.withLock { $0.append(0) }
        }
        forward(buffer[..<count], from: index!, &ports, &places)
    }

    private func read(_ port: inout Port, isTap: Bool) -> [ArraySlice<UInt8>] {
        var buffer = [UInt8](repeating: 0, count: 128 << 10)
        let count = Glibc.read(port.descriptor, &buffer, buffer.count)
        if isTap { return count > Self.tapHeader ? [buffer[Self.tapHeader..<count]] : [] }
        guard count > 0 else {
            if count == 0 || errno != EAGAIN {
                close(port.descriptor)
                port.isGone = true
            }
            return []
        }
        port.incoming += buffer[..<count]
        var frames: [ArraySlice<UInt8>] = []
        var start = 0
        while port.incoming.count - start >= 4 {
            let length = port.incoming[start..<start + 4].reduce(0) { $0 << 8 | Int($1) }
            guard port.incoming.count - start >= 4 + length else { break }
            frames.append(port.incoming[start + 4..<start + 4 + length])
            start += 4 + length
        }
        port.incoming.removeFirst(start)
        return frames
    }

    private func forward(_ frame: ArraySlice<UInt8>, from source: Int, _ ports: inout [Port], _ places: inout [[UInt8]: Int]) {
        guard frame.count >= 14 else { return }
        if source > 0 { counted.withLock { $0[source - 1] += 1 } }
        let target = Array(frame.prefix(6))
        places[Array(frame.dropFirst(6).prefix(6))] = source
        let known = target[0] & 1 == 0 ? places[target] : nil
        for index in ports.indices where index != source && !ports[index].isGone && (known == nil || known == index) {
            guard ports[index].outgoing.count < Self.roomPerPort else { continue }
            if index == 0 {
                let whole = [UInt8](repeating: 0, count: Self.tapHeader) + frame
                // The uplink takes a frame or drops it.
                _ = write(ports[0].descriptor, whole, whole.count)
            } else if var address = ports[index].address {
                let bytes = Array(frame)
                _ = Self.with(&address) { sendto(datagrams, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL), $0, $1) }
            } else {
                ports[index].outgoing += withUnsafeBytes(of: UInt32(frame.count).bigEndian, Array.init) + frame
                flush(&ports[index])
            }
        }
    }

    private func flush(_ port: inout Port) {
        while !port.outgoing.isEmpty, !port.isGone {
            let count = send(port.descriptor, port.outgoing, port.outgoing.count, Int32(MSG_NOSIGNAL))
            guard count > 0 else { return }
            port.outgoing.removeFirst(count)
        }
    }
}
