import Glibc

/// A raw packet socket (packet(7)) at one interface. Every frame is preceded by a virtio-net header of 10 bytes, so that segments and checksums
/// that are not filled in yet stay as they are.
final class PacketSocket: Sendable {
    let descriptor: FileDescriptor

    private static let family: UInt8 = 17
    private static let allProtocols: UInt16 = 3
    /// `SOL_PACKET` and `PACKET_VNET_HDR`
    private static let packetLevel: Int32 = 263
    private static let withHeader: Int32 = 15
    /// `SO_ATTACH_FILTER`
    private static let attachFilter: Int32 = 26

    /// - Parameters:
    ///   - interface: its index.
    ///   - filter: which frames it receives; it receives none when nil.
    init(interface: Int32, receiving filter: [FilterInstruction]? = nil) throws(OutputRelayError) {
        let kind = Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        // Without a protocol nothing is received, so that nothing comes before the filter is there.
        let number = socket(Int32(Self.family), kind, 0)
        guard number >= 0 else { throw .kernel("opening a packet socket", "socket(AF_PACKET)", errno) }
        descriptor = FileDescriptor(number)
        var on: Int32 = 1
        guard setsockopt(number, Self.packetLevel, Self.withHeader, &on, 4) == 0 else {
            throw .kernel("opening a packet socket", "setsockopt(PACKET_VNET_HDR)", errno)
        }
        if let filter { try attach(filter) }
        // struct sockaddr_ll: family, protocol in network order, index, zeros.
        var address = [UInt8](repeating: 0, count: 20)
        address[0] = Self.family
        if filter != nil { address[3] = UInt8(Self.allProtocols) }
        for byte in 0..<4 { address[4 + byte] = UInt8(truncatingIfNeeded: interface >> (8 * Int32(byte))) }
        // SAFETY: the bytes are a struct sockaddr_ll of the length told.
        let bound = address.withUnsafeBytes { bind(number, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), 20) }
        guard bound == 0 else { throw .kernel("opening a packet socket", "bind(AF_PACKET)", errno) }
    }

    /// `struct sock_filter`: one instruction of a classic BPF program.
    struct FilterInstruction {
        let code: UInt16
        var whenTrue: UInt8 = 0
        var whenFalse: UInt8 = 0
        let value: UInt32
    }

    private func attach(_ filter: [FilterInstruction]) throws(OutputRelayError) {
        var result: Int32 = -1
        filter.withUnsafeBytes { program in
            // struct sock_fprog: the number of instructions, and their address.
            var header = [UInt(filter.count), UInt(bitPattern: program.baseAddress)]
            // SAFETY: `FilterInstruction` has the layout of struct sock_filter, and both places outlive the call.
            result = setsockopt(descriptor.number, SOL_SOCKET, Self.attachFilter, &header, 16)
        }
        guard result == 0 else { throw .kernel("opening a packet socket", "setsockopt(SO_ATTACH_FILTER)", errno) }
    }
}
