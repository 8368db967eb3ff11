import Testing

@testable import UnderstudyCore

/// A disk, a backup's image of it, and the table between them.
private struct ComparedDisk {
    static let length = (64 << 10) * 12 + 20_000
    let grid = BlockGrid(byteCount: UInt64(length))
    /// What has been written to the copy, as the one who writes believes.
    var written: [UInt8]
    var image: [UInt8]
    let original: [UInt8]
    var table: BlockTable
    /// The wrong way to do it: what was sent leaves the entries as they were.
    var forgets = false
    var sentBytes = 0

    init(image: [UInt8]) {
        self.image = image
        original = image
        written = image
        table = BlockTable(grid: grid)
        learn(0..<grid.count)
    }

    private mutating func learn(_ blocks: some Sequence<Int>) {
        for block in blocks {
            let bytes = original[Int(grid.range(of: block).lowerBound)..<Int(grid.range(of: block).upperBound)]
            if bytes.allSatisfy({ $0 == 0 }) {
                table.learnZeroes(in: block..<block + 1)
            } else {
                table.learn(bytes.withUnsafeBytes(Self.digest), of: block)
            }
        }
    }

    private static func digest(_ bytes: UnsafeRawBufferPointer) -> BlockDigest {
        var sum: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return BlockDigest(low: sum, high: UInt64(bytes.count))
    }

    mutating func write(_ data: [UInt8], at offset: Int) {
        written.replaceSubrange(offset..<offset + data.count, with: data)
        var changes: [BlockTable.Change] = []
        data.withUnsafeBytes { table.write($0, at: UInt64(offset), digest: { Self.digest($1) }) { changes.append($0) } }
        apply(changes, data, offset)
    }

    mutating func clear(_ range: Range<Int>) {
        written.replaceSubrange(range, with: repeatElement(0, count: range.count))
        var changes: [BlockTable.Change] = []
        table.clear(UInt64(range.lowerBound)..<UInt64(range.upperBound)) { changes.append($0) }
        apply(changes, [], 0)
    }

    mutating func finish() {
        var changes: [BlockTable.Change] = []
        table.finish { changes.append($0) }
        apply(changes, [], 0)
    }

    private mutating func apply(_ changes: [BlockTable.Change], _ data: [UInt8], _ offset: Int) {
        for change in changes {
            switch change {
            case .data(let range):
                image.replaceSubrange(offset + range.lowerBound..<offset + range.upperBound, with: data[range])
                sentBytes += range.count
                forget(offset + range.lowerBound..<offset + range.upperBound)
            case .zeroes(let start, let length):
                image.replaceSubrange(Int(start)..<Int(start + length), with: repeatElement(0, count: Int(length)))
                forget(Int(start)..<Int(start + length))
            }
        }
    }

    private mutating func forget(_ sent: Range<Int>) {
        if forgets { learn(sent.lowerBound / Int(grid.blockBytes)...(sent.upperBound - 1) / Int(grid.blockBytes)) }
    }

    /// QEMU's mirror over a whole disk: zeroes everywhere, then what is there.
    mutating func mirror(_ disk: [UInt8]) {
        clear(0..<disk.count)
        for start in stride(from: 0, to: disk.count, by: 3 * 65_536) {
            let end = min(disk.count, start + 3 * 65_536)
            if disk[start..<end].contains(where: { $0 != 0 }) { write(Array(disk[start..<end]), at: start) }
        }
    }
}

@Suite struct BlockTableTests {
    private static let block = 65_536

    private static func noise(_ count: Int, _ numbers: inout Numbers) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...255, using: &numbers) }
    }

    /// A disk with blocks of noise and blocks of zeroes.
    private static func disk(_ numbers: inout Numbers) -> [UInt8] {
        var disk = [UInt8](repeating: 0, count: ComparedDisk.length)
        for start in stride(from: 0, to: disk.count, by: block) where Bool.random(using: &numbers) {
            let count = min(block, disk.count - start)
            disk.replaceSubrange(start..<start + count, with: noise(count, &numbers))
        }
        return disk
    }

    /// Random writes as a guest and a mirror make them; the same seed makes the same ones.
    private static func exercise(_ compared: inout ComparedDisk, _ numbers: inout Numbers) {
        for _ in 0..<60 {
            let first = Int.random(in: 0..<compared.grid.count, using: &numbers) * block
            let whole = first..<min(ComparedDisk.length, first + block * Int.random(in: 1...3, using: &numbers))
            let start = Int.random(in: 0..<ComparedDisk.length, using: &numbers)
            let part = start..<min(ComparedDisk.length, start + Int.random(in: 1...90_000, using: &numbers))
            switch Int.random(in: 0..<7, using: &numbers) {
            case 0: compared.write(noise(part.count, &numbers), at: part.lowerBound)
            case 1: compared.write(Array(compared.original[part]), at: part.lowerBound)
            case 2: compared.write([UInt8](repeating: 0, count: part.count), at: part.lowerBound)
            case 3: compared.write(Array(compared.original[whole]), at: whole.lowerBound)
            case 4: compared.clear(part)
            case 5: compared.clear(whole)
            default: compared.write([UInt8](repeating: UInt8.random(in: 0...1, using: &numbers), count: whole.count), at: whole.lowerBound)
            }
        }
        compared.finish()
    }

    @Test(arguments: 0..<60) func `the image equals what was written, whatever was left out`(seed: UInt64) {
        var numbers = Numbers(state: seed)
        var compared = ComparedDisk(image: Self.disk(&numbers))
        Self.exercise(&compared, &numbers)
        #expect(compared.image == compared.written)
    }

    @Test func `entries that outlive what was sent for them would leave stale blocks`() {
        var stale = 0
        for seed in 0..<20 as Range<UInt64> {
            var numbers = Numbers(state: seed)
            var compared = ComparedDisk(image: Self.disk(&numbers))
            compared.forgets = true
            Self.exercise(&compared, &numbers)
            stale += compared.image == compared.written ? 0 : 1
        }
        #expect(stale > 10)
    }

    @Test(arguments: 0..<8) func `a mirror of the whole disk sends the blocks that differ`(seed: UInt64) {
        var numbers = Numbers(state: seed)
        let image = Self.disk(&numbers)
        var disk = image
        var changed: Set<Int> = []
        for _ in 0..<3 {
            let place = Int.random(in: 0..<disk.count, using: &numbers)
            disk[place] ^= 1
            changed.insert(place / Self.block)
        }
        var compared = ComparedDisk(image: image)
        compared.mirror(disk)
        compared.finish()
        #expect(compared.image == disk)
        #expect(compared.table.differingBlocks == changed.count)
        #expect(compared.sentBytes <= changed.count * Self.block)
    }

    @Test func `an image that is not known gets everything`() {
        var numbers = Numbers(state: 3)
        var compared = ComparedDisk(image: Self.disk(&numbers))
        compared.table = BlockTable(grid: compared.grid)
        let disk = Self.noise(ComparedDisk.length, &numbers)
        compared.mirror(disk)
        compared.finish()
        #expect(compared.image == disk)
        #expect(compared.sentBytes == disk.count)
    }

    @Test func `blocks grow with the disk so that a table stays small`() {
        #expect(BlockGrid(byteCount: 1).count == 1)
        #expect(BlockGrid(byteCount: 1).range(of: 0) == 0..<1)
        #expect(BlockGrid(byteCount: 65_537).range(of: 1) == 65_536..<65_537)
        #expect(BlockGrid(byteCount: 100 << 30).blockBytes == 65_536)
        for bits in [38, 40, 45, 50] as [UInt64] {
            let grid = BlockGrid(byteCount: 1 << bits + 512)
            #expect(grid.count <= 4 << 20 + 1)
            #expect(grid.range(of: grid.count - 1).upperBound == 1 << bits + 512)
        }
    }
}

/// SplitMix64: the same seed gives the same run.
private struct Numbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
