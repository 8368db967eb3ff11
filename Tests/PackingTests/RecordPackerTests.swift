import Packing
import Testing
import UnderstudyCore

@Suite struct RecordPackerTests {
    private static let methods = [PackedRecord.Method.lz4, .zstd]

    @Test(arguments: methods) func `a message comes back byte for byte`(method: PackedRecord.Method) throws {
        let (packer, unpacker) = (try RecordPacker(), try RecordUnpacker())
        var packed = 0
        for length in [600, 4_096, 10_000, 65_535, 65_536] {
            for kind in 0..<4 {
                let message = Self.message(length, kind)
                guard let record = Self.pack(packer, message, method) else {
                    #expect(kind == 3, "only noise does not become smaller")
                    continue
                }
                packed += 1
                #expect(record.count <= message.count - message.count / 16 && record.withUnsafeBytes { PackedRecord.isPacked($0) })
                #expect(try Self.unpack(unpacker, record) == message)
            }
        }
        #expect(packed == 15)
    }

    @Test(arguments: methods) func `whatever the bytes are, unpacking ends with an error or with what was announced`(
        method: PackedRecord.Method
    ) throws {
        let (packer, unpacker) = (try RecordPacker(), try RecordUnpacker())
        let record = try #require(Self.pack(packer, Self.message(20_000, 1), method))
        var refused = 0
        for round in 0..<4_000 {
            var hostile = record
            for _ in 0...round % 4 {
                hostile[Int.random(in: 0..<hostile.count)] = UInt8.random(in: 0...255)
                if round % 5 == 0, hostile.count > 40 { hostile.removeLast(Int.random(in: 1...20)) }
            }
            do {
                let length = Int(hostile[12]) | Int(hostile[13]) << 8 | Int(hostile[14]) << 16
                #expect(try Self.unpack(unpacker, hostile).count == length)
            } catch is WireFormatError { refused += 1 }
        }
        #expect(refused > 1_000)
        #expect(try Self.unpack(unpacker, record) == Self.message(20_000, 1), "a broken record leaves nothing behind")
    }

    @Test(arguments: methods) func `a length that is not that of the content is refused`(method: PackedRecord.Method) throws {
        let (packer, unpacker) = (try RecordPacker(), try RecordUnpacker())
        let record = try #require(Self.pack(packer, Self.message(20_000, 0), method))
        for announced in [0, 1, 19_999, 20_001, 65_536, 65_537, 1 << 30] {
            var hostile = record
            for byte in 0..<4 { hostile[12 + byte] = UInt8(truncatingIfNeeded: announced >> (8 * byte)) }
            #expect(throws: WireFormatError.self) { try Self.unpack(unpacker, hostile) }
        }
    }

    /// 0: one byte, 1: text-like, 2: a counter in each word, 3: noise.
    private static func message(_ length: Int, _ kind: Int) -> [UInt8] {
        var generator = SystemRandomNumberGenerator()
        return (0..<length).map { index in
            switch kind {
            case 0: 7
            case 1: UInt8(truncatingIfNeeded: (index * index / 1000) % 23 + 97)
            case 2: index % 8 == 0 ? UInt8(truncatingIfNeeded: index / 8) : 0
            default: UInt8.random(in: 0...255, using: &generator)
            }
        }
    }

    private static func pack(_ packer: RecordPacker, _ message: [UInt8], _ method: PackedRecord.Method) -> [UInt8]? {
        message.withUnsafeBytes { bytes in
            // In two pieces, as messages come.
            let pieces = [UnsafeRawBufferPointer(rebasing: bytes[..<100]), UnsafeRawBufferPointer(rebasing: bytes[100...])]
            return pieces.withUnsafeBufferPointer { packer.pack($0, by: method).map { Array($0) } }
        }
    }

    private static func unpack(_ unpacker: RecordUnpacker, _ record: [UInt8]) throws -> [UInt8] {
        var buffer = record + [UInt8](repeating: 0xEE, count: WireFormat.maximumRecordLength + 64 - record.count)
        let length = try buffer.withUnsafeMutableBytes { bytes in
            try unpacker.unpack(UnsafeMutableRawBufferPointer(rebasing: bytes[..<WireFormat.maximumRecordLength]), length: record.count)
        }
        #expect(buffer[WireFormat.maximumRecordLength...].allSatisfy { $0 == 0xEE })
        return Array(buffer[..<length])
    }
}
