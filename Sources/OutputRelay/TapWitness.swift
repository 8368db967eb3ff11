import Glibc

/// Sees the frames that go into the queue of a tap, and takes none of them.
///
/// A QEMU whose guest was stopped still reads one frame from each queue of its tap, and keeps it for the guest: who wants that frame has to have
/// seen it on its way. Frames with a VLAN tag beside their bytes are not seen.
public final class TapWitness: Sendable {
    private let socket: PacketSocket

    /// - Throws: `noSuchInterface`, `permission`, `kernel`.
    public init(tap: String) throws(OutputRelayError) {
        // Frames that go out through the interface (for a tap: to its holder), and carry no tag beside their bytes.
        let ancillary = UInt32(bitPattern: -0x1000)
        let filter: [PacketSocket.FilterInstruction] = [
            .init(code: 0x20, value: ancillary &+ 4), .init(code: 0x15, whenFalse: 3, value: 4),
            .init(code: 0x20, value: ancillary &+ 48), .init(code: 0x15, whenFalse: 1, value: 0),
            .init(code: 0x06, value: 0x4_0000), .init(code: 0x06, value: 0),
        ]
        socket = try PacketSocket(interface: NetworkInterface.named(tap).index, receiving: filter)
    }

    /// Forgets what it has seen.
    public func forget() { while next() != nil {} }

    /// The first frames since `forget`, each behind a header of `TapQueue.headerBytes`.
    public func seen(first count: Int) -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while frames.count < count, let frame = next() { frames.append(frame) }
        return frames
    }

    private func next() -> [UInt8]? {
        var buffer = [UInt8](repeating: 0, count: TapQueue.headerBytes + TapQueue.largestFrame)
        let count = read(socket.descriptor.number, &buffer, buffer.count)
        return count > TapQueue.headerBytes ? Array(buffer[..<count]) : nil
    }
}
