import Testing

@testable import UnderstudyCore

@Suite struct CodecChooserTests {
    /// LZ4 halves pages at 500 MB/s, zstd makes a third of them at 250 MB/s.
    private static func chooser(linkMegabytes: UInt64?) -> CodecChooser {
        var chooser = CodecChooser()
        chooser.packed(.wholePages, by: .lz4, bytes: 60_000, to: 30_000, nanoseconds: 120_000)
        chooser.packed(.wholePages, by: .zstd, bytes: 60_000, to: 20_000, nanoseconds: 240_000)
        for _ in 0..<40 { chooser.sent(bytes: 1_000_000, nanoseconds: 800_000, linkBytesPerSecond: linkMegabytes.map { $0 * 1_000_000 }) }
        return chooser
    }

    @Test(arguments: [(nil, nil), (5_000, nil), (1_250, nil), (150, .lz4), (11, .zstd), (1, .zstd)] as [(UInt64?, PackedRecord.Method?)])
    func `a fast link gets plain messages, a slow one packed ones`(megabytes: UInt64?, expected: PackedRecord.Method?) {
        var chooser = Self.chooser(linkMegabytes: megabytes)
        #expect(chooser.choose(.wholePages) == expected)
    }

    @Test func `nothing is packed before anything was measured`() {
        var chooser = CodecChooser()
        #expect(chooser.choose(.wholePages) == nil)
        chooser.sent(bytes: 1_000_000, nanoseconds: 1_000, linkBytesPerSecond: 1_000_000)
        #expect(chooser.choose(.wholePages) == nil)
    }

    @Test func `contents are told apart`() {
        var chooser = Self.chooser(linkMegabytes: 11)
        // Deltas that do not become smaller are not worth their packing.
        chooser.packed(.deltas, by: .lz4, bytes: 10_000, to: 10_000, nanoseconds: 30_000)
        chooser.packed(.deltas, by: .zstd, bytes: 10_000, to: 10_000, nanoseconds: 60_000)
        #expect(chooser.choose(.deltas) == nil)
        #expect(chooser.choose(.wholePages) == .zstd)
        #expect(CodecChooser.Content(bytesPerEntry: 4096) == .wholePages)
        #expect(CodecChooser.Content(bytesPerEntry: 60) == .deltas)
    }

    @Test func `a link that becomes slow, and fast again, is followed`() {
        var chooser = Self.chooser(linkMegabytes: 5_000)
        #expect(chooser.choose(.wholePages) == nil)
        for _ in 0..<60 { chooser.sent(bytes: 1_000_000, nanoseconds: 800_000, linkBytesPerSecond: 10_000_000) }
        #expect(chooser.choose(.wholePages) == .zstd)
        for _ in 0..<60 { chooser.sent(bytes: 1_000_000, nanoseconds: 800_000, linkBytesPerSecond: 5_000_000_000) }
        #expect(chooser.choose(.wholePages) == nil)
    }

    @Test func `figures that waver around the border do not make it change places`() {
        var chooser = Self.chooser(linkMegabytes: 250)
        var changes = 0
        var last = chooser.choose(.wholePages)
        for round in 0..<1_000 {
            // Plain 4 ns per byte, LZ4 2 + half of it: equal.
            let wavering: UInt64 = round % 2 == 0 ? 240_000_000 : 260_000_000
            chooser.sent(bytes: 1_000_000, nanoseconds: 800_000, linkBytesPerSecond: wavering)
            chooser.packed(.wholePages, by: .lz4, bytes: 60_000, to: 30_000, nanoseconds: round % 3 == 0 ? 115_000 : 125_000)
            let now = chooser.choose(.wholePages)
            if now != last { changes += 1 }
            last = now
        }
        #expect(changes <= 1)
    }

    @Test func `short epochs say nothing of the cost of a byte, but the kernel knows the link`() {
        var chooser = Self.chooser(linkMegabytes: 5_000)
        for _ in 0..<100 { chooser.sent(bytes: 3_000, nanoseconds: 900_000, linkBytesPerSecond: 5_000_000_000) }
        #expect(chooser.choose(.wholePages) == nil)
        for _ in 0..<100 { chooser.sent(bytes: 3_000, nanoseconds: 900_000, linkBytesPerSecond: 1_000_000) }
        #expect(chooser.choose(.wholePages) == .zstd)
    }
}
