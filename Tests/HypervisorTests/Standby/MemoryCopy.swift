import Glibc
import UnderstudyCore

@testable import Hypervisor

/// Copies the RAM blocks of a process whose address is known, and feeds a standby with what changed.
final class MemoryCopy {
    private let descriptor: Int32
    private let blocks: [RAMBlock]
    /// By block index: what was read last, and the time before that.
    private var now: [Int: UnsafeMutableRawBufferPointer] = [:]
    private var before: [Int: UnsafeMutableRawBufferPointer] = [:]

    init(pid: Int32, blocks: [RAMBlock]) throws {
        descriptor = open("/proc/\(pid)/mem", O_RDONLY)
        guard descriptor >= 0 else { throw PrimaryMachine.Failure(message: "no access to the memory of \(pid)") }
        self.blocks = blocks
        for (index, block) in blocks.enumerated() where block.hostAddress != 0 {
            for keep in [\MemoryCopy.now, \MemoryCopy.before] {
                // SAFETY: released in deinit and nowhere else.
                let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(block.usedLength), alignment: 4096)
                copy.initializeMemory(as: UInt8.self, repeating: 0)
                self[keyPath: keep][index] = copy
            }
        }
    }

    deinit {
        close(descriptor)
        for copy in now.values { copy.deallocate() }
        for copy in before.values { copy.deallocate() }
    }

    /// Reads every block; the guest is stopped.
    func read() throws {
        swap(&now, &before)
        for (index, copy) in now {
            var done = 0
            while done < copy.count {
                let at = off_t(blocks[index].hostAddress) + off_t(done)
                let count = pread(descriptor, copy.baseAddress! + done, min(1 << 24, copy.count - done), at)
                guard count > 0 else { throw PrimaryMachine.Failure(message: "block \(blocks[index].name) cannot be read") }
                done += count
            }
        }
    }

    /// Gives `standby` the pages that changed since the read before the last, or all of them. Returns how many.
    func feed(_ standby: StandbyProcess, everything: Bool = false) throws -> Int {
        var pages = 0
        for (index, copy) in now.sorted(by: { $0.key < $1.key }) {
            let base = UnsafeRawPointer(copy.baseAddress!)
            let old = UnsafeRawPointer(before[index]!.baseAddress!)
            for offset in stride(from: 0, to: copy.count, by: 4096) where everything || memcmp(base + offset, old + offset, 4096) != 0 {
                let words = UnsafeRawBufferPointer(start: base + offset, count: 4096).bindMemory(to: UInt64.self)
                let isZero = words.allSatisfy { $0 == 0 }
                try standby.append(block: index, offset: UInt64(offset), page: isZero ? nil : base + offset)
                pages += 1
            }
        }
        try standby.flush(timeout: .seconds(120))
        return pages
    }
}
