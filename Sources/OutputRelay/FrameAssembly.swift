import Glibc

/// Puts frames together that come through a stream socket: four bytes of length, most significant first, then the frame (QEMU
/// `net/filter-mirror.c`, `net_fill_rstate` in `net/net.c`). The record in the ring is the same bytes, so that it can go back as it is.
struct FrameAssembly: Sendable {
    enum Step: Equatable {
        /// A frame is whole, in the ring: so many bytes with its length.
        case stored(Int)
        /// A frame came for which there was no room.
        case dropped
        /// Nothing more is there now.
        case drained
        /// The other end has gone (`EPIPE`), or the socket failed.
        case broken(Int32)
    }

    /// Bytes of the length before each frame.
    static let prefix = 4
    /// More than QEMU ever sends (`NET_BUFSIZE`): what claims to be longer is no frame.
    private static let longest = 1 << 20

    private var length: UInt32 = 0
    private var lengthBytes = 0
    /// Bytes of the frame that have come.
    private var taken = 0
    private var isKept = false
    private var waste = [UInt8](repeating: 0, count: 4096)

    /// Whether a frame has begun to come and is not whole.
    var isPartial: Bool { lengthBytes > 0 }

    /// Reads on, until one frame is whole or nothing is left.
    ///
    /// - Parameters:
    ///   - offset: where the record goes that is being put together; the same until it is whole.
    ///   - hasRoom: whether the largest record fits there; asked when a frame begins.
    mutating func read(from descriptor: Int32, into ring: FrameRing, at offset: UInt64, time: UInt64, hasRoom: Bool) -> Step {
        while true {
            if lengthBytes == Self.prefix, taken == Int(length) { return finish() }
            let count = lengthBytes < Self.prefix ? readLength(descriptor) : readFrame(descriptor, ring, offset)
            if count == 0 { return .broken(EPIPE) }
            if count < 0 {
                if errno == EINTR { continue }
                return errno == EAGAIN ? .drained : .broken(errno)
            }
            if lengthBytes < Self.prefix {
                lengthBytes += count
                guard lengthBytes == Self.prefix else { continue }
                length = UInt32(bigEndian: length)
                guard length > 0, length <= Self.longest else { return .broken(EPROTO) }
                isKept = hasRoom && Int(length) + Self.prefix <= FrameRing.largestFrame
                if isKept {
                    let record = ring.begin(at: offset, count: Int(length) + Self.prefix, time: time)
                    record.storeBytes(of: length.bigEndian, as: UInt32.self)
                }
            } else {
                taken += count
            }
        }
    }

    private mutating func finish() -> Step {
        let step = isKept ? Step.stored(Int(length) + Self.prefix) : .dropped
        lengthBytes = 0
        taken = 0
        return step
    }

    private mutating func readLength(_ descriptor: Int32) -> Int {
        let have = lengthBytes
        // SAFETY: the target is what is missing of the four bytes of `length`.
        return withUnsafeMutableBytes(of: &length) { recv(descriptor, $0.baseAddress! + have, Self.prefix - have, Int32(MSG_DONTWAIT)) }
    }

    private mutating func readFrame(_ descriptor: Int32, _ ring: FrameRing, _ offset: UInt64) -> Int {
        let missing = Int(length) - taken
        if isKept {
            // SAFETY: the record was begun with `length` bytes and fits into the ring.
            return recv(descriptor, ring.bytes(at: offset) + Self.prefix + taken, missing, Int32(MSG_DONTWAIT))
        }
        return recv(descriptor, &waste, min(missing, waste.count), Int32(MSG_DONTWAIT))
    }
}
