import Glibc
import LinuxShim

/// A queue of a tap that another process holds, read in that process's place.
///
/// Frames for the guest wait there until its QEMU reads them. While QEMU stands still, whoever shares the descriptor can take them instead:
/// each frame is read exactly once, by one of the two.
public final class TapQueue: Sendable {
    /// Bytes of `struct virtio_net_hdr`, which precede every frame here, whatever the tap's own header is.
    public static let headerBytes = 10
    /// The largest frame: a segment of 64 KiB with its headers and tags.
    public static let largestFrame = 65_536 + 256

    private let descriptor: FileDescriptor
    private let tapHeader: Int

    private init(_ descriptor: FileDescriptor) throws(OutputRelayError) {
        self.descriptor = descriptor
        let size = understudy_tap_header_size(descriptor.number)
        guard size == 0 || size >= Self.headerBytes else {
            throw .kernel("asking for the form of a tap's frames", "ioctl(TUNGETIFF)", size < 0 ? -size : EPROTO)
        }
        tapHeader = Int(size)
    }

    /// The queues of `tap` that a process holds open; none when it holds none.
    ///
    /// - Parameter processDescriptor: a pidfd of the process `process`.
    /// - Throws: `permission`, `kernel`.
    public static func borrow(_ tap: String, from process: Int32, _ processDescriptor: Int32) throws(OutputRelayError) -> [TapQueue] {
        var queues: [TapQueue] = []
        for number in try descriptors(of: tap, in: process) {
            let copy = understudy_pidfd_getfd(processDescriptor, number)
            guard copy >= 0 else { throw .kernel("sharing the tap \(tap) with its QEMU", "pidfd_getfd", -copy) }
            queues.append(try TapQueue(FileDescriptor(copy)))
        }
        return queues
    }

    /// The descriptors that `/proc/PID/fdinfo` shows as attached to `tap`.
    private static func descriptors(of tap: String, in process: Int32) throws(OutputRelayError) -> [Int32] {
        let folder = "/proc/\(process)/fdinfo"
        guard let listing = opendir(folder) else { throw .kernel("looking for the tap \(tap) in process \(process)", "opendir", errno) }
        defer { closedir(listing) }
        var found: [Int32] = []
        while let entry = readdir(listing) {
            // SAFETY: the kernel ends the name with a zero inside the entry, which lives until the next call.
            let name = withUnsafePointer(to: &entry.pointee.d_name) { place in
                place.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let number = Int32(name), holds(tap, "\(folder)/\(name)") { found.append(number) }
        }
        return found.sorted()
    }

    private static func holds(_ tap: String, _ path: String) -> Bool {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        // A descriptor that was closed since the listing is none of the tap's.
        guard file >= 0 else { return false }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(file, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self).split(separator: "\n").contains { $0 == "iff:\t\(tap)" }
    }

    /// For poll(2).
    public var number: Int32 { descriptor.number }

    /// Takes the oldest frame that waits, behind a header of `headerBytes`; nil when none waits. Never blocks.
    /// - Throws: `kernel` (the tap has gone).
    public func take() throws(OutputRelayError) -> [UInt8]? {
        var ready = pollfd(fd: number, events: Int16(POLLIN), revents: 0)
        guard poll(&ready, 1, 0) > 0 else { return nil }
        var buffer = [UInt8](repeating: 0, count: tapHeader + Self.largestFrame)
        let count = read(number, &buffer, buffer.count)
        if count < 0, errno == EAGAIN || errno == EINTR { return nil }
        guard count > tapHeader else { throw .kernel("taking a frame for the guest", "read(tap)", count < 0 ? errno : ENODATA) }
        let header = tapHeader == 0 ? [UInt8](repeating: 0, count: Self.headerBytes) : Array(buffer[..<Self.headerBytes])
        return header + buffer[tapHeader..<count]
    }

    /// Whether a taken frame goes to one station, and not to several.
    public static func isUnicast(_ frame: [UInt8]) -> Bool { frame.count > headerBytes && frame[headerBytes] & 1 == 0 }
}
