import Glibc
import Synchronization

/// The packet sockets of a sniffer and the thread that reads them.
final class FrameCapture: Sendable {
    private struct Port {
        let interface: String
        let socket: Int32
    }

    private let seen: Mutex<[String: FrameSniffer.Sighting]>
    private let stopping = Atomic<Bool>(false)
    private let ports: [Port]
    private let sender: [UInt8]
    private let kept: Range<Int>
    private static let frameBytes = 64
    /// Nil before the start and once stopped.
    private let thread = Mutex<LabThread?>(nil)

    private init(ports: [Port], sender: [UInt8], kept: Range<Int>) {
        self.ports = ports
        self.sender = sender
        self.kept = kept
        seen = Mutex(Dictionary(uniqueKeysWithValues: ports.map { ($0.interface, FrameSniffer.Sighting()) }))
    }

    static func start(
        namespace: String, interfaces: [String], mac: String, keeping kept: Range<Int>
    ) throws(DemonstrationError) -> FrameCapture {
        precondition(kept.upperBound <= frameBytes)
        let sender = mac.split(separator: ":").compactMap { UInt8($0, radix: 16) }
        guard sender.count == 6 else { throw DemonstrationError(.network, "\(mac) is not a MAC address") }
        let ports = try NetworkNamespace.run(in: namespace) { () throws(DemonstrationError) in
            var ports = [Port]()
            do throws(DemonstrationError) {
                for interface in interfaces { ports.append(Port(interface: interface, socket: try packetSocket(on: interface))) }
            } catch {
                for port in ports { close(port.socket) }
                throw error
            }
            return ports
        }
        let capture = FrameCapture(ports: ports, sender: sender, kept: kept)
        let thread = try LabThread { capture.run() }
        capture.thread.withLock { $0 = thread }
        return capture
    }

    func sighting(at interface: String) -> FrameSniffer.Sighting { seen.withLock { $0[interface] ?? .init() } }

    func stop() -> [String: FrameSniffer.Sighting] {
        stopping.store(true, ordering: .relaxed)
        let running = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        if let running {
            running.join()
            for port in ports {
                let dropped = FrameCapture.dropped(port.socket)
                seen.withLock { $0[port.interface, default: .init()].dropped = dropped }
                close(port.socket)
            }
        }
        return seen.withLock { $0 }
    }

    private static let timestamp: UInt = 0x8907  // SIOCGSTAMPNS, whose macro Swift does not import

    /// PACKET_STATISTICS: frames passed on and frames dropped, two 32-bit words; reading resets them.
    private static func dropped(_ socket: Int32) -> Int {
        let (packetLevel, statistics): (Int32, Int32) = (263, 6)
        var counts: [UInt32] = [0, 0]
        var length = socklen_t(8)
        // An unreadable statistic must not look like a complete record.
        return getsockopt(socket, packetLevel, statistics, &counts, &length) == 0 ? Int(counts[1]) : .max
    }

    private static func packetSocket(on interface: String) throws(DemonstrationError) -> Int32 {
        let index = if_nametoindex(interface)
        guard index > 0 else { throw LabSystem.failure(.network, "no interface \(interface) to listen on") }
        let socket = Glibc.socket(AF_PACKET, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard socket >= 0 else { throw LabSystem.failure(.network, "cannot open a packet socket (root is needed)") }
        var size: Int32 = 8 << 20
        setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &size, socklen_t(MemoryLayout<Int32>.size))
        // sockaddr_ll (packet(7)): family, protocol (ETH_P_ALL, network order), interface, then fields that only the kernel fills.
        var address = [UInt8](repeating: 0, count: 20)
        address.withUnsafeMutableBytes {
            $0.storeBytes(of: UInt16(AF_PACKET), toByteOffset: 0, as: UInt16.self)
            $0.storeBytes(of: UInt16(3).bigEndian, toByteOffset: 2, as: UInt16.self)
            $0.storeBytes(of: index, toByteOffset: 4, as: UInt32.self)
        }
        let bound = address.withUnsafeMutableBytes { bytes -> Int32 in
            guard let start = bytes.baseAddress else { preconditionFailure("20 bytes have a base address") }
            // SAFETY: a complete sockaddr_ll; the pointer does not outlive the call.
            return bind(socket, start.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
        }
        guard bound == 0 else {
            let failure = LabSystem.failure(.network, "cannot listen on \(interface)")
            close(socket)
            throw failure
        }
        // The first call only switches the socket's time stamps on.
        var none = timespec()
        _ = ioctl(socket, timestamp, &none)
        return socket
    }

    private func run() {
        var entries = ports.map { pollfd(fd: $0.socket, events: Int16(POLLIN), revents: 0) }
        var stopped = false
        while !stopped {
            // Read once more after the request to stop: what arrived before it counts.
            stopped = stopping.load(ordering: .relaxed)
            if poll(&entries, nfds_t(entries.count), stopped ? 0 : 20) > 0 {
                for port in ports { drain(port) }
            }
        }
    }

    private func drain(_ port: Port) {
        var frame = [UInt8](repeating: 0, count: FrameCapture.frameBytes)
        var address = [UInt8](repeating: 0, count: 20)
        while true {
            var length = socklen_t(address.count)
            let count = address.withUnsafeMutableBytes { bytes -> Int in
                guard let start = bytes.baseAddress else { preconditionFailure("20 bytes have a base address") }
                // SAFETY: the kernel writes at most `length` bytes of address and `frame.count` of frame.
                return recvfrom(port.socket, &frame, frame.count, 0, start.assumingMemoryBound(to: sockaddr.self), &length)
            }
            guard count >= 0 else { return }
            // Packet type 4: sent by this machine through the interface, not received.
            let outgoing: UInt8 = 4
            guard count >= 12, address[10] != outgoing, frame[6..<12].elementsEqual(sender) else { continue }
            // What a shorter frame does not have must not be an earlier one's.
            for index in count..<frame.count { frame[index] = 0 }
            let instant = receiveTime(port.socket)
            seen.withLock { $0[port.interface, default: .init()].note(instant, frame[kept]) }
        }
    }

    /// The kernel's receive time of the last frame, moved from the wall clock to the monotonic one.
    private func receiveTime(_ socket: Int32) -> UInt64 {
        var stamp = timespec()
        let found = ioctl(socket, FrameCapture.timestamp, &stamp) == 0
        let wall = MonotonicTime.nanoseconds(of: CLOCK_REALTIME)
        let now = MonotonicTime.now()
        let then = UInt64(max(stamp.tv_sec, 0)) * 1_000_000_000 + UInt64(max(stamp.tv_nsec, 0))
        guard found, then <= wall, wall - then < now else { return now }
        return now - (wall - then)
    }
}
