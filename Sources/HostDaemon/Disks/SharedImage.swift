internal import Foundation
internal import Glibc
internal import Hypervisor

/// What one host says of a disk's image, so that the other can tell whether it sees the very same one.
///
/// Of a file: a proof that lies beside it, its number and its size. Of a block device: its size, its world-wide name and what it holds in some
/// places, or its number where both daemons run on one kernel.
struct SharedImage: Codable, Sendable {
    /// Absolute, on the host that runs the machine.
    var path: String
    var byteCount: UInt64
    var isBlockDevice: Bool
    /// The number of the file in its file system, or of the device.
    var number: UInt64
    /// The number of the file's file system; of no meaning on another kernel.
    var fileSystem: UInt64
    /// What stands in the file `PATH.understudy-proof` meanwhile.
    var proof: String
    /// What the device says of itself (`/sys/dev/block/MAJOR:MINOR/`), if anything.
    var worldWideName: String?
    /// What a block device holds; nil of a file.
    var sample: DeviceSample?
    /// Tells one run of a kernel from every other (random(4)).
    var kernel: String

    private static let suffix = ".understudy-proof"

    /// As `init(of:)` for all disks of a machine, or for none.
    static func lay(for disks: [BlockDevice], workingDirectory: String) throws(HostDaemonError) -> [SharedImage] {
        var images: [SharedImage] = []
        do throws(HostDaemonError) {
            for disk in disks { images.append(try SharedImage(of: disk, workingDirectory: workingDirectory)) }
            return images
        } catch {
            for image in images { image.removeProof() }
            throw error
        }
    }

    /// Looks at a disk of the machine that runs here, and lays the proof beside its image.
    init(of disk: BlockDevice, workingDirectory: String) throws(HostDaemonError) {
        guard let path = disk.path(from: workingDirectory), ["raw", "file", "host_device"].contains(disk.driver ?? ""),
            disk.file?.contains("json:") == false
        else {
            throw HostDaemonError(
                .refused,
                "the disk \(disk.name) is \(disk.driver ?? "unknown"): only raw images and block devices can be shared; protect it without `--shared-disks`"
            )
        }
        try self.init(path: path, byteCount: disk.byteCount, proof: String(UInt64.random(in: .min ... .max), radix: 16))
        guard !isBlockDevice else { return }
        do { try (proof + "\n").write(toFile: path + Self.suffix, atomically: true, encoding: .utf8) } catch {
            throw HostDaemonError(.system, "\(path)\(Self.suffix) cannot be written: \(error.localizedDescription)", cause: error)
        }
    }

    private init(path: String, byteCount: UInt64, proof: String) throws(HostDaemonError) {
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw HostDaemonError(.refused, "the shared image \(path) cannot be seen: \(String(cString: strerror(errno)))")
        }
        let isFile = status.st_mode & S_IFMT == S_IFREG
        guard isFile || status.st_mode & S_IFMT == S_IFBLK else {
            throw HostDaemonError(.refused, "\(path) is neither a file nor a block device, so it cannot be shared")
        }
        let size = isFile ? UInt64(status.st_size) : try DeviceSample.byteCount(of: path)
        guard size == byteCount else {
            throw HostDaemonError(.refused, "the shared image \(path) has \(size) bytes instead of \(byteCount)")
        }
        self.path = path
        self.byteCount = byteCount
        self.proof = proof
        isBlockDevice = !isFile
        number = isFile ? UInt64(status.st_ino) : UInt64(status.st_rdev)
        fileSystem = isFile ? UInt64(status.st_dev) : 0
        worldWideName = isFile ? nil : Self.worldWideName(of: status.st_rdev)
        sample = isFile ? nil : try DeviceSample(of: path, byteCount: byteCount)
        kernel = Self.text("/proc/sys/kernel/random/boot_id") ?? ""
    }

    private static func text(_ path: String) -> String? {
        let text = (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
        return text?.isEmpty == false ? text : nil
    }

    private static func worldWideName(of device: dev_t) -> String? {
        // As glibc's `gnu_dev_major` and `gnu_dev_minor` do.
        let major = (device >> 8) & 0xfff | (device >> 32) & ~0xfff
        let minor = device & 0xff | (device >> 12) & ~0xff
        let folder = "/sys/dev/block/\(major):\(minor)"
        return ["wwid", "device/wwid", "dm/uuid"].lazy.compactMap { text("\(folder)/\($0)") }.first
    }

    /// Whether name and contents say so. Names that virtual disks share or that came with a cloned host prove nothing without contents.
    func isSameDevice(as other: SharedImage) -> Bool {
        guard let worldWideName, worldWideName == other.worldWideName, let sample, let otherSample = other.sample else { return false }
        let isUnique = Self.uniqueNames.contains { worldWideName.hasPrefix($0) }
        return sample.resembles(otherSample) && (isUnique || !sample.isBlank)
    }

    /// What begins so was given to one device in the world (SCSI's NAA and EUI-64 identifiers, NVMe's, and multipath's of these).
    private static let uniqueNames = ["naa.", "eui.", "nvme.", "uuid.", "mpath-3"]

    func removeProof() { if !isBlockDevice { unlink(path + Self.suffix) } }

    /// Looks at the image that this host sees under a path.
    ///
    /// - Returns: whether both hosts see the image through one kernel, so that each sees the other's locks at once.
    /// - Throws: `.refused` unless it is certainly the very same image.
    func demandSame(at path: String) throws(HostDaemonError) -> Bool {
        let own = try SharedImage(path: path, byteCount: byteCount, proof: "")
        let isOneKernel = !kernel.isEmpty && own.kernel == kernel && own.number == number && own.fileSystem == fileSystem
        let isSame =
            isBlockDevice
            ? isOneKernel || own.isSameDevice(as: self)
            : own.number == number && Self.text(path + Self.suffix) == proof
        guard own.isBlockDevice == isBlockDevice, isSame else {
            throw HostDaemonError(
                .refused,
                "\(path) is not the image that the machine uses on the other host (\(self.path)), or nothing proves that it is: name its path here by `--disk NAME=PATH`, or protect the machine without `--shared-disks`"
            )
        }
        return isOneKernel
    }
}
