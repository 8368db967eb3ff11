internal import Glibc

/// What a block device holds in some places, as numbers that are compared with what another host sees there. The guest may write meanwhile, so
/// not all must be equal.
struct DeviceSample: Codable, Sendable, Equatable {
    /// Of blocks from the first to the last, evenly spaced; 0 for one of zeroes.
    var digests: [UInt64]

    private static let count = 64
    private static let blockBytes = 4096
    private static let direct: CInt = 0o40000  // O_DIRECT, which lies behind _GNU_SOURCE

    init(digests: [UInt64]) { self.digests = digests }

    /// Reads the device itself, past what this host remembers of it.
    init(of path: String, byteCount: UInt64) throws(HostDaemonError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | Self.direct)
        guard descriptor >= 0 else { throw Self.failure(path) }
        defer { close(descriptor) }
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.blockBytes, alignment: Self.blockBytes)
        defer { block.deallocate() }
        let blocks = byteCount / UInt64(Self.blockBytes)
        digests = []
        for index in 0..<min(UInt64(Self.count), blocks) {
            let number = index == 0 ? 0 : (blocks - 1) / UInt64(Self.count - 1) * index
            let place = off_t(min(number, blocks - 1)) * off_t(Self.blockBytes)
            guard pread(descriptor, block.baseAddress!, block.count, place) == block.count else { throw Self.failure(path) }
            digests.append(Self.digest(UnsafeRawBufferPointer(block)))
        }
    }

    /// FNV-1a over words; no adversary chooses what is compared here.
    private static func digest(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let words = bytes.assumingMemoryBound(to: UInt64.self)
        guard words.contains(where: { $0 != 0 }) else { return 0 }
        return words.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ $1) &* 0x0000_0100_0000_01b3 }
    }

    /// Whether it tells nothing, since there are zeroes only.
    var isBlank: Bool { digests.allSatisfy { $0 == 0 } }

    /// Whether three quarters are equal.
    func resembles(_ other: DeviceSample) -> Bool {
        guard digests.count == other.digests.count else { return false }
        return zip(digests, other.digests).count { $0 == $1 } * 4 >= digests.count * 3
    }

    /// The size of a block device.
    static func byteCount(of path: String) throws(HostDaemonError) -> UInt64 {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(path) }
        defer { close(descriptor) }
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw failure(path) }
        return UInt64(end)
    }

    private static func failure(_ path: String) -> HostDaemonError {
        HostDaemonError(.refused, "the shared device \(path) cannot be read: \(String(cString: strerror(errno)))")
    }
}
