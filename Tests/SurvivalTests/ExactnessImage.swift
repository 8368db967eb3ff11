import Glibc
import GuestMemory
import UnderstudyCore

/// All RAM blocks of a process as an independent reader found them at one moment.
final class ExactnessImage {
    struct Difference: Equatable, CustomStringConvertible {
        var block: String
        var page: UInt64
        var description: String { "\(block) page \(page)" }
    }

    let blocks: [RAMBlock]
    private let contents: [UnsafeMutableRawBufferPointer]
    private let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)

    init(blocks: [RAMBlock]) {
        self.blocks = blocks
        contents = blocks.map { .allocate(byteCount: Int($0.usedLength), alignment: 4096) }
    }

    deinit {
        chunk.deallocate()
        contents.forEach { $0.deallocate() }
    }

    var byteCount: Int { contents.reduce(0) { $0 + $1.count } }

    /// Takes everything from the process whose blocks these are.
    func take(from reader: borrowing MemoryReader) throws {
        for index in blocks.indices { try reader.read(block: index, offset: 0, into: contents[index]) }
    }

    func page(block: Int, _ page: UInt64) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: contents[block][Int(page) * 4096..<Int(page + 1) * 4096])
    }

    /// Every page of which a byte differs in the process behind `reader`, which must have the same blocks.
    func differences(to reader: borrowing MemoryReader) throws -> [Difference] {
        var found: [Difference] = []
        for (index, block) in blocks.enumerated() {
            guard let twin = reader.blocks.firstIndex(where: { $0.name == block.name && $0.usedLength == block.usedLength }) else {
                throw SurvivalFailure("the standby has no RAM block \(block.name) of \(block.usedLength) bytes")
            }
            for offset in stride(from: 0, to: contents[index].count, by: chunk.count) {
                let length = min(chunk.count, contents[index].count - offset)
                let theirs = UnsafeMutableRawBufferPointer(rebasing: chunk[..<length])
                try reader.read(block: twin, offset: UInt64(offset), into: theirs)
                let mine = UnsafeRawBufferPointer(rebasing: contents[index][offset..<offset + length])
                if memcmp(mine.baseAddress!, theirs.baseAddress!, length) == 0 { continue }
                for page in stride(from: 0, to: length, by: 4096)
                where memcmp(mine.baseAddress! + page, theirs.baseAddress! + page, min(4096, length - page)) != 0 {
                    found.append(Difference(block: block.name, page: UInt64(offset + page) / 4096))
                }
            }
        }
        return found
    }
}
