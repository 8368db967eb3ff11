/// One disk of the demo's guest.
public struct GuestDisk: Sendable, Equatable {
    /// The image that QEMU opens.
    public var image: DiskImage
    public var interface: Interface
    public var use: Use
    public var cache: Cache
    /// `-drive if=none` instead of `-blockdev` with node names.
    public var classicDrive: Bool

    /// How the guest sees the disk.
    public enum Interface: String, Sendable, CaseIterable {
        /// `virtio-blk-pci`.
        case virtioBlock
        /// `scsi-hd` on a `virtio-scsi-pci`.
        case virtioSCSI
        /// `ide-hd` on an AHCI controller: q35's own one, or one of its own on another machine.
        case sata
    }

    /// What the guest does with the disk.
    public enum Use: String, Sendable {
        /// Nothing.
        case idle
        /// An ext4 file system that gets the record of every request before its reply leaves: `us.journal`.
        case journal
        /// Random blocks, written and checked all the time: `us.blocks`.
        case blocks
        /// An ext4 file system whose program `/start` the guest runs: `us.run`.
        case run
        /// Written as fast as it goes, on request: `us.load`.
        case load
    }

    /// QEMU's cache modes, in its words.
    public enum Cache: String, Sendable {
        case none, writeback, writethrough, directsync, unsafe

        var direct: Bool { self == .none || self == .directsync }
        var noFlush: Bool { self == .unsafe }
        var writeCache: Bool { self != .writethrough && self != .directsync }
    }

    public init(
        _ image: DiskImage, use: Use, interface: Interface = .virtioBlock, cache: Cache = .none, classicDrive: Bool = false
    ) {
        self.image = image
        self.use = use
        self.interface = interface
        self.cache = cache
        self.classicDrive = classicDrive
    }
}
