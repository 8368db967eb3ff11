/// A disk image of the laboratory.
public struct DiskImage: Sendable, Equatable {
    public let path: String
    public let format: Format

    public enum Format: String, Sendable, CaseIterable {
        case raw, qcow2
    }

    public init(path: String, format: Format) {
        self.path = path
        self.format = format
    }

    /// What an image holds at first.
    public enum Content: Sendable {
        /// Zeros.
        case blank
        /// An empty ext4 file system with a small journal.
        case ext4
    }

    /// Makes an image. Needs qemu-utils, and e2fsprogs for a file system.
    ///
    /// - Throws: `.prerequisiteMissing`, `.process` with what the tool said.
    public static func create(
        at path: String, format: Format = .raw, mebibytes: Int = 64, content: Content = .ext4
    ) throws(DemonstrationError) -> DiskImage {
        let image = DiskImage(path: path, format: format)
        guard content == .ext4 else {
            try DiskTool.run(["qemu-img", "create", "-q", "-f", format.rawValue, path, "\(mebibytes)M"])
            return image
        }
        let raw = DiskImage(path: format == .raw ? path : path + ".making", format: .raw)
        try DiskTool.run(["qemu-img", "create", "-q", "-f", "raw", raw.path, "\(mebibytes)M"])
        // Everything is initialised here, so that the guest's kernel writes nothing of its own accord.
        try DiskTool.run(["mkfs.ext4", "-q", "-F", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", raw.path])
        if format != .raw {
            try raw.convert(to: image)
            try LabFiles.remove(raw.path)
        }
        return image
    }

    /// Writes a copy of what a guest would read. The image may be in use, but must not change meanwhile.
    func convert(to target: DiskImage) throws(DemonstrationError) {
        try DiskTool.run(["qemu-img", "convert", "-U", "-f", format.rawValue, "-O", target.format.rawValue, path, target.path])
    }

    /// Hands a raw copy over, which may be changed and is removed afterwards.
    func withRawCopy<Result>(_ body: (String) throws(DemonstrationError) -> Result) throws(DemonstrationError) -> Result {
        let copy = DiskImage(path: path + ".copy-\(UInt32.random(in: 0...UInt32.max))", format: .raw)
        let result: Result
        do throws(DemonstrationError) {
            try convert(to: copy)
            result = try body(copy.path)
        } catch {
            LabFiles.removeIfThere(copy.path)
            throw error
        }
        try LabFiles.remove(copy.path)
        return result
    }
}
