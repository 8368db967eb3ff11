import Glibc
import LinuxShim

/// The memory that holds frames: records of 16 bytes of header (length of the frame with its virtio-net header, time of arrival) and the
/// frame, padded to 8 bytes. The memory is mapped twice in a row, so a record may cross the end of the ring.
///
/// The ring keeps no state: offsets come from an `OutputLedger`, which says who may touch what.
final class FrameRing: @unchecked Sendable {
    /// The virtio-net header that taps put before each frame (with `num_buffers`).
    static let virtioHeader = 12
    /// Room for the largest frame that the kernel hands over: a segment of 64 KiB with all its headers.
    static let largestFrame = 66_048
    /// Room that must be free before a frame may be read.
    static let largestRecord = header + largestFrame
    private static let header = 16

    /// Bytes of the ring.
    let capacity: Int
    // SAFETY: mapped as long as this object lives. The stretch between the ledger's head and head + largestRecord is written only under the
    // ledger's lock; the stretch between tail and committedOffset is read only under the release lock and is not written meanwhile.
    private let memory: UnsafeMutableRawPointer

    /// A ring of at least `bytes` bytes.
    init(bytes: Int) throws(OutputRelayError) {
        let page = 4096
        capacity = (max(bytes, 1 << 20) + page - 1) / page * page
        guard let memory = understudy_ring_map(capacity) else {
            throw .kernel("reserving \(capacity) bytes for held frames", "mmap", errno)
        }
        self.memory = memory
    }

    deinit { understudy_ring_unmap(memory, capacity) }

    /// Reads one frame from `descriptor` into the record at `offset`. Returns the number of bytes read, or -errno.
    func receive(from descriptor: Int32, at offset: UInt64, time: UInt64) -> Int {
        let record = place(offset)
        let count = read(descriptor, record + Self.header, Self.largestFrame)
        guard count >= 0 else { return -Int(errno) }
        record.storeBytes(of: UInt64(count), as: UInt64.self)
        record.storeBytes(of: time, toByteOffset: 8, as: UInt64.self)
        return count
    }

    /// Begins the record at `offset`, whose `count` bytes the caller puts where this returns.
    func begin(at offset: UInt64, count: Int, time: UInt64) -> UnsafeMutableRawPointer {
        let record = place(offset)
        record.storeBytes(of: UInt64(count), as: UInt64.self)
        record.storeBytes(of: time, toByteOffset: 8, as: UInt64.self)
        return record + Self.header
    }

    /// The bytes of the record at `offset`.
    func bytes(at offset: UInt64) -> UnsafeMutableRawPointer { place(offset) + Self.header }

    /// Bytes of the record that holds `count` bytes read.
    static func recordSize(_ count: Int) -> Int { (header + count + 7) & ~7 }

    /// Bytes of the frame at `offset`, with its virtio-net header.
    func length(at offset: UInt64) -> Int { Int(place(offset).load(as: UInt64.self)) }

    /// When the frame at `offset` was read, in nanoseconds of CLOCK_MONOTONIC.
    func time(at offset: UInt64) -> UInt64 { place(offset).load(fromByteOffset: 8, as: UInt64.self) }

    /// Writes the frame at `offset` to `descriptor`. Returns 0 or errno.
    func send(at offset: UInt64, to descriptor: Int32) -> Int32 {
        let record = place(offset)
        return write(descriptor, record + Self.header, Int(record.load(as: UInt64.self))) >= 0 ? 0 : errno
    }

    // SAFETY: offset modulo capacity lies in the first mapping, and a record is shorter than the second one behind it.
    private func place(_ offset: UInt64) -> UnsafeMutableRawPointer { memory + Int(offset % UInt64(capacity)) }
}
