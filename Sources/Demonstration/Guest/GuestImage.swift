import Glibc

/// The guest's kernel and initramfs, with and without the modules for disks, as `scripts/make-guest` leaves them in the cache folder.
public struct GuestImage: Sendable {
    public let kernel: String
    public let initramfs: String
    /// For a guest with disks.
    public let diskInitramfs: String

    /// - Parameter diskInitramfs: without one, `initramfs` holds everything.
    public init(kernel: String, initramfs: String, diskInitramfs: String? = nil) {
        self.kernel = kernel
        self.initramfs = initramfs
        self.diskInitramfs = diskInitramfs ?? initramfs
    }

    /// The cache folder: `UNDERSTUDY_CACHE`, else `$XDG_CACHE_HOME/understudy`, else `$HOME/.cache/understudy`.
    public static var cacheFolder: String {
        func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 } }
        if let folder = variable("UNDERSTUDY_CACHE") { return folder }
        return (variable("XDG_CACHE_HOME") ?? (variable("HOME") ?? "/root") + "/.cache") + "/understudy"
    }

    /// Finds the image in the cache.
    /// - Throws: `.prerequisiteMissing` when it was not made yet; the message names the script.
    public static func cached(in folder: String = GuestImage.cacheFolder) throws(DemonstrationError) -> GuestImage {
        let image = GuestImage(
            kernel: folder + "/guest/vmlinux", initramfs: folder + "/guest/initramfs.gz",
            diskInitramfs: folder + "/guest/initramfs-disk.gz")
        for file in [image.kernel, image.initramfs] where access(file, R_OK) != 0 {
            throw DemonstrationError(.prerequisiteMissing, "the guest's file \(file) is missing: run scripts/make-guest")
        }
        return image
    }
}
