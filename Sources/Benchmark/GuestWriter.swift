internal import Glibc
public import Hypervisor
internal import UnderstudyCore

/// Makes pages of a guest's main memory dirty from outside, by writing back a byte that it finds there.
///
/// The pages are scattered over the upper half of the memory, which an idle guest leaves alone.
public final class GuestWriter: Sendable {
    private let descriptor: CInt
    private let start: UInt64
    private let pages: UInt64

    /// - Throws: `BenchmarkError` when QEMU's memory cannot be opened.
    public init(_ machine: MachineDescription) throws(BenchmarkError) {
        guard let main = machine.ramBlocks.max(by: { $0.usedLength < $1.usedLength }) else {
            throw BenchmarkError("the machine has no RAM")
        }
        start = main.hostAddress + main.usedLength / 2
        pages = main.usedLength / 2 / 4096
        descriptor = open("/proc/\(machine.process.id)/mem", O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw BenchmarkError("QEMU's memory cannot be opened: run this as root") }
    }

    deinit { close(descriptor) }

    /// Writes `count` distinct pages, in groups of four as a busy guest does.
    public func dirty(_ count: Int) throws(BenchmarkError) {
        var byte: UInt8 = 0
        for index in 0..<UInt64(count) {
            let group = index / 4
            // An odd stride visits every group of a power of two of them once.
            let address = start + (group * 1237 % (pages / 4) * 4 + index % 4) * 4096 + 64
            guard pread(descriptor, &byte, 1, off_t(address)) == 1, pwrite(descriptor, &byte, 1, off_t(address)) == 1 else {
                throw BenchmarkError("a page of QEMU's memory cannot be written")
            }
        }
    }
}
