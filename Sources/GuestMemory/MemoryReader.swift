import Glibc
public import UnderstudyCore

/// Reads another process's RAM blocks through `/proc/PID/mem`: the independent witness of exactness.
///
/// It shares no code with `PageCopier` and looks at no dirty set, so it can accuse both.
public struct MemoryReader: ~Copyable {
    public let blocks: [RAMBlock]
    private let pid: Int32
    private let descriptor: Int32
    private static let chunk = 1 << 20

    public init(pid: Int32, blocks: [RAMBlock]) throws(GuestMemoryError) {
        let path = "/proc/\(pid)/mem"
        descriptor = try ProcFile.open(path)
        self.pid = pid
        self.blocks = blocks
    }

    deinit { close(descriptor) }

    /// Reads `destination.count` bytes from `offset` of block number `block`.
    public func read(block: Int, offset: UInt64, into destination: UnsafeMutableRawBufferPointer) throws(GuestMemoryError) {
        guard blocks.indices.contains(block), offset <= blocks[block].usedLength,
            UInt64(destination.count) <= blocks[block].usedLength - offset
        else {
            throw GuestMemoryError(
                code: .invalidArgument, message: "\(destination.count) bytes at \(offset) are not in RAM block number \(block)")
        }
        var done = 0
        while done < destination.count {
            // SAFETY: the rest of `destination` from `done` on is the caller's.
            let count = pread(
                descriptor, destination.baseAddress! + done, destination.count - done,
                off_t(blocks[block].hostAddress + offset) + off_t(done))
            if count < 0, errno == EINTR { continue }
            if count == 0 { throw GuestMemoryError(code: .processGone, message: "process \(pid) has ended") }
            guard count > 0 else {
                throw .failed(
                    "reading byte \(offset + UInt64(done)) of RAM block \"\(blocks[block].name)\" of process \(pid)", errno,
                    code: .unreadablePage)
            }
            done += count
        }
    }

    /// Compares all blocks byte for byte with those of the same name in `other`. Both processes should stand still.
    ///
    /// A block that is missing there, or has another used length, is an error (`invalidBlock`).
    public func compare(with other: borrowing MemoryReader) throws(GuestMemoryError) -> MemoryComparison {
        var result = MemoryComparison(comparedBytes: 0, differingPages: 0, first: nil)
        let mine = UnsafeMutableRawBufferPointer.allocate(byteCount: MemoryReader.chunk, alignment: GuestPage.size)
        let theirs = UnsafeMutableRawBufferPointer.allocate(byteCount: MemoryReader.chunk, alignment: GuestPage.size)
        defer {
            mine.deallocate()
            theirs.deallocate()
        }
        for (index, block) in blocks.enumerated() {
            guard let twin = other.blocks.firstIndex(where: { $0.name == block.name && $0.usedLength == block.usedLength }) else {
                throw block.invalid("the other process has no such block")
            }
            var offset: UInt64 = 0
            while offset < block.usedLength {
                let length = Int(min(UInt64(MemoryReader.chunk), block.usedLength - offset))
                try read(block: index, offset: offset, into: UnsafeMutableRawBufferPointer(rebasing: mine[..<length]))
                try other.read(block: twin, offset: offset, into: UnsafeMutableRawBufferPointer(rebasing: theirs[..<length]))
                result.add(
                    block: block.name, offset: offset, UnsafeRawBufferPointer(rebasing: mine[..<length]),
                    UnsafeRawBufferPointer(rebasing: theirs[..<length]))
                offset += UInt64(length)
            }
        }
        return result
    }
}

extension MemoryComparison {
    /// Counts the differing pages of two equally long pieces.
    fileprivate mutating func add(block: String, offset: UInt64, _ mine: UnsafeRawBufferPointer, _ theirs: UnsafeRawBufferPointer) {
        comparedBytes += UInt64(mine.count)
        if memcmp(mine.baseAddress!, theirs.baseAddress!, mine.count) == 0 { return }
        for page in stride(from: 0, to: mine.count, by: GuestPage.size) {
            let end = min(page + GuestPage.size, mine.count)
            guard let byte = (page..<end).first(where: { mine[$0] != theirs[$0] }) else { continue }
            differingPages += 1
            guard first == nil else { continue }
            let position = offset + UInt64(byte)
            first = Difference(block: block, page: position / UInt64(GuestPage.size), offset: position)
        }
    }
}
