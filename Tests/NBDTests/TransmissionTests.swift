import Synchronization
import Testing

@testable import NBD

@Suite(.serialized) struct TransmissionTests {
    private static let size: UInt64 = 1 << 20
    private let export = RecordingExport()
    private let server: TestServer

    init() throws { server = try TestServer([export]) }

    private func client(structured: Bool = true, contexts: [String] = []) throws -> RawClient {
        try RawClient(server.path, export: "disk", structured: structured, contexts: contexts)
    }

    @Test(arguments: [true, false]) func whatWasWrittenIsRead(structured: Bool) throws {
        let client = try client(structured: structured)
        try client.request(1, flags: 1, at: 3, length: 5, payload: [1, 2, 3, 4, 5])
        #expect(try client.simple() == 0)
        try client.request(0, cookie: 0xfedc_ba98_7654_3210, at: 2, length: 7)
        if structured {
            let chunk = try client.chunk()
            #expect(chunk.flags == 1 && chunk.type == 1 && chunk.cookie == 0xfedc_ba98_7654_3210)
            #expect(chunk.data == [0, 0, 0, 0, 0, 0, 0, 2] + [0, 1, 2, 3, 4, 5, 0])
        } else {
            #expect(try client.simple(cookie: 0xfedc_ba98_7654_3210) == 0)
            #expect(try client.receive(7) == [0, 1, 2, 3, 4, 5, 0])
        }
        #expect(export.calls == [.connected, .write(offset: 3, length: 5, forced: true)])
    }

    @Test func requestsInARowAreAnsweredInTheirOrder() throws {
        let client = try client()
        for index in 0..<200 {
            try client.request(
                1, cookie: UInt64(index), at: UInt64(index) * 100, length: 100, payload: [UInt8](repeating: UInt8(index), count: 100))
        }
        for index in 0..<200 { #expect(try client.simple(cookie: UInt64(index)) == 0) }
        #expect(export.bytes[..<20000].enumerated().allSatisfy { $1 == UInt8($0 / 100) })
    }

    @Test func theCommandsReachTheExport() throws {
        let client = try client()
        try client.request(3)
        #expect(try client.simple() == 0)
        try client.request(4, at: 4096, length: 8192)
        #expect(try client.simple() == 0)
        try client.request(4, flags: 1, at: 0, length: 1)
        #expect(try client.simple() == 0)
        try client.request(6, at: 1, length: 2)
        #expect(try client.simple() == 0)
        try client.request(6, flags: 3, at: Self.size - 1, length: 1)
        #expect(try client.simple() == 0)
        try client.request(2)
        #expect(try client.isCut())
        try Tool.eventually("the export hears of the end") { export.calls.last == .disconnected }
        #expect(
            export.calls == [
                .connected, .flush, .trim(offset: 4096, length: 8192), .trim(offset: 0, length: 1), .flush,
                .zeroes(offset: 1, length: 2, mayTrim: true, forced: false),
                .zeroes(offset: Self.size - 1, length: 1, mayTrim: false, forced: true), .disconnected,
            ])
        #expect(server.reported.isEmpty)
    }

    /// Each with its error number; the export sees none of them, and the connection goes on.
    @Test(
        arguments: [
            (0, 0, size, 1, 22), (0, 0, size - 1, 2, 22), (0, 0, UInt64.max, 1, 22), (0, 0, UInt64.max - 1, .max, 75), (0, 0, 0, 0, 22),
            (0, 0, 0, (32 << 20) + 1, 75), (0, 0x80, 0, 1, 22), (1, 0, size, 1, 28), (1, 0, size - 1, 2, 28), (1, 0, UInt64.max, 5, 28),
            (1, 0, 0, 0, 22), (1, 0, 0, (32 << 20) + 1, 75), (1, 2, 0, 1, 22), (2 + 3, 0, 0, 1, 22), (8, 0, 0, 0, 22),
            (0xffff, 0, 0, 0, 22),
            (3, 0, 1, 0, 22), (3, 0, 0, 1, 22), (3, 2, 0, 0, 22), (4, 0, size, 1, 22), (4, 0, UInt64.max, .max, 22), (4, 0, 0, 0, 22),
            (6, 0, 1, UInt32(size), 28), (6, 0, 0, 0, 22), (6, 16, 0, 1, 22), (7, 0, 0, 4096, 22),
        ] as [(UInt16, UInt16, UInt64, UInt32, UInt32)])
    func requestsOutOfBoundsAreRefused(type: UInt16, flags: UInt16, offset: UInt64, length: UInt32, error: UInt32) throws {
        for structured in [true, false] {
            let client = try client(structured: structured)
            let payload = type == 1 ? [UInt8](repeating: 0x25, count: Int(length)) : []
            try client.request(type, flags: flags, at: offset, length: length, payload: payload)
            let answer = structured && (type == 0 || type == 7) ? try client.chunkError() : try client.simple()
            #expect(answer == error)
            #expect(try client.isUsable())
        }
        #expect(export.calls.allSatisfy { $0 == .connected || $0 == .disconnected || $0 == .flush })
        #expect(export.state.withLock { $0.reserved } == 0)
    }

    @Test func anEnormousWriteIsTheEnd() throws {
        let client = try client()
        try client.request(1, length: (64 << 20) + 1)
        #expect(try client.isCut())
        try Tool.eventually("a report") { server.reported.contains { $0.code == .protocolViolation } }
    }

    @Test func aWrongMagicNumberIsTheEnd() throws {
        let client = try client()
        try client.send { $0 += [UInt8](repeating: 0x25, count: 28) }
        #expect(try client.isCut())
        try Tool.eventually("a report") { server.reported.contains { $0.code == .protocolViolation } }
    }

    @Test func aReadOnlyExportIsNeverChanged() throws {
        let export = RecordingExport(isReadOnly: true)
        let server = try TestServer([export])
        let client = try RawClient(server.path, export: "disk")
        try client.request(1, length: 4, payload: [1, 2, 3, 4])
        #expect(try client.simple() == 1)
        for type: UInt16 in [4, 6] {
            try client.request(type, length: 4)
            #expect(try client.simple() == 1)
        }
        #expect(try client.isUsable())
        #expect(export.calls == [.connected, .flush])
    }

    @Test func aWriteWithoutMemoryIsReadAwayAndRefused() throws {
        export.state.withLock { $0.hasMemory = false }
        let client = try client()
        try client.request(1, length: 3 << 20, payload: [UInt8](repeating: 0x25, count: 3 << 20))
        #expect(try client.simple() == 28)
        try client.request(1, length: 1 << 20, payload: [UInt8](repeating: 0x25, count: 1 << 20))
        #expect(try client.simple() == 12)
        #expect(try client.isUsable())
    }

    @Test(arguments: [0, 1, 4095]) func aClientThatVanishesInMidWriteChangesNothing(sent: Int) throws {
        do {
            let client = try client()
            try client.request(1, length: 4096, payload: [UInt8](repeating: 0x25, count: sent))
            client.socket.cut()
        }
        try Tool.eventually("the export hears of the end") { export.calls == [.connected, .disconnected] }
        #expect(export.held == 0)
        #expect(export.bytes.allSatisfy { $0 == 0 })
        #expect(server.reported.map(\.code) == [.truncated])
        #expect(try client().isUsable())
    }

    @Test func aClientThatVanishesBetweenRequestsIsNoError() throws {
        do { #expect(try client().isUsable()) }
        try Tool.eventually("the export hears of the end") { export.calls.last == .disconnected }
        #expect(server.reported.isEmpty)
    }

    @Test func theExportsErrorsReachTheClient() throws {
        export.state.withLock { $0.failure = .noSpace }
        let client = try client()
        try client.request(1, length: 1, payload: [1])
        #expect(try client.simple() == 28)
        try client.request(0, length: 1)
        #expect(try client.chunkError() == 28)
        for (type, length): (UInt16, UInt32) in [(3, 0), (4, 1), (6, 1)] {
            try client.request(type, length: length)
            #expect(try client.simple() == 28)
        }
    }

    @Test func blockStatusIsMergedAndEndsWithTheRequest() throws {
        let client = try client(contexts: ["base:allocation"])
        func status(_ flags: UInt16, _ extents: [NBDExtent]) throws -> [UInt8] {
            export.state.withLock { $0.extents = extents }
            try client.request(7, flags: flags, at: 0, length: 100)
            let chunk = try client.chunk()
            #expect(chunk.type == 5 && chunk.flags == 1 && chunk.data[..<4] == [0, 0, 0, 1])
            return Array(chunk.data[4...])
        }
        let hole = NBDExtent(length: 20, isHole: true, readsAsZero: true)
        let data = NBDExtent(length: 20, isHole: false, readsAsZero: false)
        let endless = NBDExtent(length: .max, isHole: true, readsAsZero: false)
        #expect(try status(0, []) == [0, 0, 0, 100, 0, 0, 0, 0])
        #expect(try status(0, [hole, data]) == [0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 20, 0, 0, 0, 0])
        #expect(try status(8, [hole, data]) == [0, 0, 0, 20, 0, 0, 0, 3])
        #expect(try status(8, [hole, hole, data]) == [0, 0, 0, 40, 0, 0, 0, 3])
        #expect(try status(0, [hole, endless, data]) == [0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 80, 0, 0, 0, 1])
        let many = (0..<20000).map { NBDExtent(length: 1, flags: UInt32($0 % 2)) }
        #expect(try status(0, many).count == 800)
        export.state.withLock { $0.extents = many }
        try client.request(7, at: 0, length: 20000)
        #expect(try client.chunk().data.count == 4 + 8 * Transmission.extentLimit)
    }

    @Test func fastZeroesAreOfferedByExportsThatHaveThem() throws {
        let server = try TestServer([RecordingExport(hasFastZeroes: true)])
        let client = try RawClient(server.path, export: "disk")
        try client.request(6, flags: 16, length: 1)
        #expect(try client.simple() == 0)
    }
}
