import Glibc

/// Puts frames into the queue of a tap, as its bridge does: whoever holds the tap reads them.
final class TapInjector: Sendable {
    private let socket: PacketSocket

    /// - Parameter tap: the tap's index.
    init(tap: Int32) throws(OutputRelayError) { socket = try PacketSocket(interface: tap) }

    /// - Parameter frame: behind its virtio-net header; the kernel refuses one that does not fit its frame.
    func send(_ frame: [UInt8]) throws(OutputRelayError) {
        guard write(socket.descriptor.number, frame, frame.count) == frame.count else {
            throw .kernel("handing a frame to a tap", "write(AF_PACKET)", errno)
        }
    }
}
