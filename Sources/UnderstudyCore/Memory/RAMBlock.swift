/// One block of guest RAM as QEMU names it (`info ramblock`): main memory, video memory, ROM and ACPI tables alike.
///
/// The order of the blocks in an array gives each its index, which `PageRun` uses.
public struct RAMBlock: Codable, Sendable, Equatable {
    /// QEMU's name of the block (`pc.ram`, `pc.bios`, `0000:00:02.0/vga.vram`); the same on both hosts.
    public var name: String
    /// Bytes in use: what is tracked, copied and sent. A multiple of `GuestPage.size`.
    public var usedLength: UInt64
    /// Bytes reserved; a resizable block (ACPI tables) may grow up to it.
    public var totalLength: UInt64
    /// Where the block begins in QEMU's own address space. A multiple of `GuestPage.size`.
    public var hostAddress: UInt64

    public init(name: String, usedLength: UInt64, totalLength: UInt64, hostAddress: UInt64) {
        self.name = name
        self.usedLength = usedLength
        self.totalLength = totalLength
        self.hostAddress = hostAddress
    }

    /// Pages of `GuestPage.size` bytes in use.
    public var pageCount: UInt64 { usedLength / UInt64(GuestPage.size) }
}
