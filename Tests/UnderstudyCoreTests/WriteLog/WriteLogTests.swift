import Testing
import UnderstudyCore

@Suite struct WriteLogTests {
    private func identity(_ epoch: UInt64) -> EpochIdentity { EpochIdentity(generation: 1, sessionNonce: 2, epoch: epoch) }

    private func drain(_ log: inout WriteLog) -> [String] {
        var items: [String] = []
        while let item = log.next() {
            switch item {
            case .entry(let entry): items.append("\(entry.number)@\(entry.offset)")
            case .mark(let identity, let through): items.append("mark \(identity.epoch) through \(through)")
            }
        }
        return items
    }

    @Test func `writes leave in their order`() {
        var log = WriteLog()
        for offset in [4096, 0, 8192] as [UInt64] { #expect(log.append(.data, disk: 0, offset: offset, length: 4096, place: 1) == nil) }
        #expect(log.waitingBytes == 3 * 4096)
        #expect(drain(&log) == ["1@4096", "2@0", "3@8192"])
        #expect(log.isEmpty && log.waitingBytes == 0)
    }

    @Test func `a write that a later one of its epoch covers is not sent`() {
        var log = WriteLog()
        _ = log.append(.data, disk: 0, offset: 0, length: 4096, place: 7)
        _ = log.append(.data, disk: 0, offset: 2048, length: 4096, place: 8)
        _ = log.append(.data, disk: 1, offset: 0, length: 4096, place: 9)
        #expect(log.append(.data, disk: 0, offset: 0, length: 4096, place: 10) == 7)
        #expect(log.coalesced == 1)
        #expect(drain(&log) == ["2@2048", "3@0", "4@0"])
    }

    @Test func `a write of an earlier epoch is always sent`() {
        var log = WriteLog()
        _ = log.append(.data, disk: 0, offset: 0, length: 4096, place: 1)
        log.close()
        #expect(log.append(.data, disk: 0, offset: 0, length: 4096, place: 2) == nil)
        #expect(drain(&log) == ["1@0", "2@0"])
    }

    @Test func `a mark comes after its epoch's last write and before what waits of the next one`() {
        var log = WriteLog()
        _ = log.append(.data, disk: 0, offset: 0, length: 512, place: 1)
        log.close()
        let boundary = log.boundary
        _ = log.append(.data, disk: 0, offset: 512, length: 512, place: 2)
        _ = log.append(.data, disk: 0, offset: 1024, length: 512, place: 3)
        log.mark(identity(1), through: boundary)
        #expect(drain(&log) == ["1@0", "mark 1 through 1", "2@512", "3@1024"])
        log.mark(identity(2), through: log.boundary)
        #expect(!log.isEmpty)
        #expect(drain(&log) == ["mark 2 through 3"])
    }

    @Test func `a write that was taken is not coalesced`() {
        var log = WriteLog()
        _ = log.append(.data, disk: 0, offset: 0, length: 512, place: 1)
        _ = log.next()
        #expect(log.append(.data, disk: 0, offset: 0, length: 512, place: 2) == nil)
        #expect(drain(&log) == ["2@0"])
    }

    @Test func `numbers stay right over many writes`() {
        var log = WriteLog()
        var taken: UInt64 = 0
        for round in 0..<20_000 as Range<UInt64> {
            _ = log.append(.data, disk: 0, offset: round % 64 * 512, length: 512, place: Int(round))
            guard round % 3 == 0, case .entry(let entry)? = log.next() else { continue }
            #expect(entry.number > taken)
            #expect(entry.offset == UInt64(entry.place) % 64 * 512 && entry.number == UInt64(entry.place) + 1)
            taken = entry.number
        }
    }
}
