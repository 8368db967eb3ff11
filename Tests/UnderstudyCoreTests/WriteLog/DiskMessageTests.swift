import Testing
import UnderstudyCore

@Suite struct DiskMessageTests {
    private func encoded(_ kind: DiskMessage.Kind, _ change: DiskMessage.Change, data: Int = 0) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: DiskMessage.headerLength + data)
        bytes.withUnsafeMutableBytes { DiskMessage.encode(kind, change, into: $0) }
        return bytes
    }

    private func decoded(_ bytes: [UInt8], lengths: [UInt64] = [1 << 20, 4096]) throws -> DiskMessage.Content {
        try bytes.withUnsafeBytes { try DiskMessage.decode($0, diskLengths: lengths) }
    }

    @Test func `every message comes back as it was sent`() throws {
        let change = DiskMessage.Change(disk: 1, offset: 512, length: 1024, entry: 77)
        #expect(try decoded(encoded(.data, change, data: 1024)) == .data(change))
        #expect(try decoded(encoded(.zeroes, change)) == .zeroes(change))
        #expect(try decoded(encoded(.discard, change)) == .discard(change))
        let identity = EpochIdentity(generation: 3, sessionNonce: 4, epoch: 5)
        var mark = [UInt8](repeating: 0, count: DiskMessage.markLength)
        mark.withUnsafeMutableBytes { DiskMessage.encodeMark(identity, through: 99, into: $0) }
        #expect(try decoded(mark) == .mark(identity, through: 99))
    }

    @Test(arguments: [
        DiskMessage.Change(disk: 2, offset: 0, length: 512, entry: 1), DiskMessage.Change(disk: 1, offset: 4096, length: 512, entry: 1),
        DiskMessage.Change(disk: 1, offset: 3584, length: 1024, entry: 1),
        DiskMessage.Change(disk: 0, offset: .max - 100, length: 512, entry: 1),
        DiskMessage.Change(disk: 0, offset: 0, length: 0, entry: 1), DiskMessage.Change(disk: 0, offset: 512, length: .max, entry: 1),
    ]) func `a change outside its disk is refused`(change: DiskMessage.Change) {
        #expect(throws: WireFormatError.self) { try decoded(encoded(.zeroes, change)) }
    }

    @Test func `a message of a wrong length is refused, and so is one of an unknown kind`() {
        let change = DiskMessage.Change(disk: 0, offset: 0, length: 1024, entry: 1)
        #expect(throws: WireFormatError.self) { try decoded(encoded(.data, change, data: 1023)) }
        #expect(throws: WireFormatError.self) { try decoded(encoded(.data, change, data: 1025)) }
        #expect(throws: WireFormatError.self) { try decoded(encoded(.zeroes, change, data: 1)) }
        #expect(throws: WireFormatError.self) { try decoded([]) }
        for kind in UInt8.min...UInt8.max where DiskMessage.Kind(rawValue: kind) == nil {
            var bytes = encoded(.zeroes, change)
            bytes[0] = kind
            #expect(throws: WireFormatError.self) { try decoded(bytes) }
        }
    }

    @Test func `random bytes never lead outside a disk`() throws {
        var generator = Seeded(state: 1)
        for _ in 0..<20_000 {
            var bytes = (0..<Int.random(in: 0...80, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
            if bytes.count > 2, Bool.random(using: &generator) {
                (bytes[0], bytes[1], bytes[2]) = (UInt8.random(in: 16...19, using: &generator), 0, 0)
            }
            guard let content = try? decoded(bytes) else { continue }
            switch content {
            case .mark: break
            case .data(let change), .zeroes(let change), .discard(let change):
                #expect(change.length > 0 && change.offset + change.length <= [1 << 20, 4096][Int(change.disk)])
            }
        }
    }
}
