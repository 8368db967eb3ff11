import Glibc
import LinuxShim
import OutputRelay

/// A place where the test sends and receives whole frames: a tap that it holds, or a packet socket on an interface.
final class TestPort {
    /// Test frames carry this EtherType (for local experiments) and a number.
    static let etherType: [UInt8] = [0x88, 0xb5]

    let descriptor: Int32
    private let header: Int

    init(tap: String, multiqueue: Bool = false) throws {
        descriptor = understudy_tap_open(tap, multiqueue ? 1 : 0, 12, 7)
        header = 12
        try TestNetwork.require(descriptor >= 0, "open the tap \(tap): \(descriptor)")
    }

    init(interface: Int32) throws {
        let protocolOfAll = Int32(UInt16(3).bigEndian)
        descriptor = socket(17, Int32(SOCK_RAW.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), protocolOfAll)
        header = 0
        try TestNetwork.require(descriptor >= 0, "open a packet socket")
        var room: Int32 = 256 << 20
        setsockopt(descriptor, SOL_SOCKET, 33, &room, 4)
        var address = [UInt8](repeating: 0, count: 20)
        address[0] = 17
        address[3] = 3
        for byte in 0..<4 { address[4 + byte] = UInt8(truncatingIfNeeded: interface >> (8 * Int32(byte))) }
        let bound = address.withUnsafeBytes { bind(descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), 20) }
        try TestNetwork.require(bound == 0, "bind the packet socket")
    }

    deinit { close(descriptor) }

    /// Sends raw bytes, behind an empty virtio-net header where the port has one.
    func send(_ frame: [UInt8], virtio: [UInt8]? = nil) throws {
        let bytes = (header > 0 ? (virtio ?? [UInt8](repeating: 0, count: header)) : []) + frame
        try TestNetwork.require(write(descriptor, bytes, bytes.count) == bytes.count, "send a frame of \(bytes.count) bytes")
    }

    /// Sends numbered test frames.
    func send(_ numbers: Range<UInt64>, to destination: [UInt8] = TestNetwork.broadcast, from source: [UInt8] = TestNetwork.guestAddress)
        throws
    {
        for number in numbers { try send(Self.frame(number, to: destination, from: source)) }
    }

    static func frame(_ number: UInt64, to destination: [UInt8], from source: [UInt8]) -> [UInt8] {
        destination + source + etherType + (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
            + [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 86)
    }

    /// The next frame without its virtio-net header; nil when none came for `milliseconds`.
    func receive(_ milliseconds: Int32) -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: 80_000)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count > header { return Array(buffer[header..<count]) }
            var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&wait, 1, milliseconds) == 0 { return nil }
        }
    }

    /// The numbers of the test frames that come until there are `count`, or none came for `quiet` milliseconds.
    func numbers(_ count: Int = .max, quiet: Int32 = 60_000) -> [UInt64] {
        var numbers: [UInt64] = []
        while numbers.count < count, let frame = receive(quiet) {
            guard frame.count == 108 || frame.count == 112, let place = Self.payload(frame) else { continue }
            numbers.append((0..<8).reduce(0) { $0 | UInt64(frame[place + $1]) << (8 * $1) })
        }
        return numbers
    }

    /// Whether exactly these frames come next, in this order.
    func come(inOrder expected: Range<UInt64>) -> Bool {
        numbers(expected.count).elementsEqual(expected)
    }

    /// Sends raw bytes that may be refused.
    func offer(_ frame: [UInt8]) { _ = write(descriptor, frame, frame.count) }

    private static func payload(_ frame: [UInt8]) -> Int? {
        if Array(frame[12..<14]) == etherType { return 14 }
        return Array(frame[12..<14]) == [0x81, 0] ? 18 : nil
    }

    /// Throws away what has come.
    func drain() { while receive(20) != nil {} }
}
