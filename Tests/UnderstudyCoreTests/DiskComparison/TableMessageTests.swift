import Testing

@testable import UnderstudyCore

@Suite struct TableMessageTests {
    private static let grids = [BlockGrid(byteCount: 10 << 20), BlockGrid(byteCount: 65_537)]

    private static func decode(_ bytes: [UInt8]) throws(WireFormatError) -> TableMessage.Content {
        let result = bytes.withUnsafeBytes { bytes in
            Result { () throws(WireFormatError) in try TableMessage.decode(bytes, grids: grids) }
        }
        return try result.get()
    }

    @Test func `what is said arrives as it was said`() throws {
        let digests = (0..<7).map { BlockDigest(low: UInt64($0) << 40, high: ~UInt64($0)) }
        for content in [
            .key((0..<32).map { UInt8($0) }), .digests(disk: 0, first: 153, digests), .zeroes(disk: 1, blocks: 0..<2), .end,
        ] as [TableMessage.Content] {
            #expect(try Self.decode(TableMessage.encode(content)) == content)
        }
        let most = TableMessage.encode(.digests(disk: 0, first: 0, Array(repeating: digests[0], count: TableMessage.maximumDigests)))
        #expect(most.count == TableMessage.maximumLength)
    }

    private struct Forgery: Sendable, CustomStringConvertible {
        var description: String
        var bytes: [UInt8]
    }

    private static func zeroes(_ disk: Int, _ blocks: Range<Int>) -> [UInt8] { TableMessage.encode(.zeroes(disk: disk, blocks: blocks)) }

    private static let forgeries: [Forgery] = {
        let digests = TableMessage.encode(.digests(disk: 0, first: 0, [BlockDigest(low: 1, high: 2)]))
        let far: [UInt8] = [34, 0, 0, 0, 1, 0, 0, 0] + [UInt8](repeating: 255, count: 8)
        let many: [UInt8] = [34, 0, 0, 0, 255, 255, 255, 255] + [UInt8](repeating: 0, count: 8)
        let none: [UInt8] = [34, 0, 0, 0] + [UInt8](repeating: 0, count: 12)
        let unknown: [UInt8] = [99] + [UInt8](repeating: 0, count: 15)
        return [
            Forgery(description: "another disk", bytes: zeroes(2, 0..<1)),
            Forgery(description: "blocks beyond the disk", bytes: zeroes(0, 159..<161)),
            Forgery(description: "a first block beyond the disk", bytes: zeroes(1, 2..<3)),
            Forgery(description: "a first block beyond all numbers", bytes: far),
            Forgery(description: "no blocks", bytes: none),
            Forgery(description: "all blocks there can be", bytes: many),
            Forgery(description: "zeroes with bytes", bytes: zeroes(0, 0..<1) + [0]),
            Forgery(description: "fewer digests than it says", bytes: Array(digests.dropLast())),
            Forgery(description: "a short key", bytes: Array(TableMessage.encode(.key([UInt8](repeating: 1, count: 32))).dropLast())),
            Forgery(description: "an end with bytes", bytes: TableMessage.encode(.end) + [1]),
            Forgery(description: "an unknown kind", bytes: unknown),
            Forgery(description: "a piece of a header", bytes: [34, 0, 0]),
            Forgery(description: "nothing", bytes: []),
        ]
    }()

    @Test(arguments: forgeries) private func `no peer makes a table of what is not on the disk`(forgery: Forgery) {
        #expect(throws: WireFormatError.self) { try Self.decode(forgery.bytes) }
    }
}
