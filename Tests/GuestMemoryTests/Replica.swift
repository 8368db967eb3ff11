import Glibc
import GuestMemory
import UnderstudyCore

/// The standby of the tests: memory of this process, zero at first, that receives copied pages.
final class Replica {
    let blocks: [RAMBlock]
    private let memory: UnsafeMutableRawPointer
    private let length: Int
    let arena: UnsafeMutableRawPointer

    init(of original: RAMBlock) throws {
        length = Int(original.usedLength)
        memory = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        arena = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        var block = original
        block.hostAddress = UInt64(UInt(bitPattern: memory))
        blocks = [block]
    }

    deinit {
        munmap(memory, length)
        munmap(arena, length)
    }

    /// Puts the arena's pages where they belong, except page `withheld`.
    func apply(_ runs: PageRunList, withholding withheld: UInt32? = nil) {
        var source = arena
        for run in runs.runs {
            for page in run.firstPage..<(run.firstPage + run.count) {
                if page != withheld { (memory + Int(page) * GuestPage.size).copyMemory(from: source, byteCount: GuestPage.size) }
                source += GuestPage.size
            }
        }
    }

    func compare(with victim: Victim) throws -> MemoryComparison {
        let reader = try MemoryReader(pid: victim.pid, blocks: victim.blocks)
        return try reader.compare(with: MemoryReader(pid: getpid(), blocks: blocks))
    }
}
