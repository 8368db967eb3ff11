import NBDTestExports
import Testing

@testable import NBD

@Suite(.serialized) struct NegotiationTests {
    private static let acknowledged: UInt32 = 1
    private static let unsupported: UInt32 = 0x8000_0001
    private static let policy: UInt32 = 0x8000_0002
    private static let invalid: UInt32 = 0x8000_0003
    private static let unknown: UInt32 = 0x8000_0006
    private static let tooBig: UInt32 = 0x8000_0009

    private let server: TestServer

    init() throws {
        server = try TestServer([RecordingExport(name: "disk"), RecordingExport(name: "other", byteCount: 4096, isReadOnly: true)])
    }

    private func types(_ option: UInt32, _ data: [UInt8] = []) throws -> [UInt32] {
        let client = try RawClient(server.path)
        _ = try client.option(8)
        return try client.option(option, data).map(\.type)
    }

    @Test(arguments: [0, 2, 5, 0x8000_0001]) func aClientThatIsNotFixedNewstyleIsTurnedAway(flags: UInt32) throws {
        #expect(try RawClient(server.path, flags: flags).isCut())
        try Tool.eventually("a report") { server.reported.first?.code == .protocolViolation }
    }

    @Test func everyExportIsListed() throws {
        let replies = try RawClient(server.path).option(3)
        #expect(replies.map(\.type) == [2, 2, Self.acknowledged])
        #expect(replies[0].data == [0, 0, 0, 4] + Array("disk".utf8))
    }

    @Test func informationAndChoiceSayTheSame() throws {
        let client = try RawClient(server.path)
        let about = try client.option(6, RawClient.choice("other", [3, 1]))
        #expect(about.map(\.type) == [3, 3, 3, Self.acknowledged])
        // Flags: has flags, read-only, flush, FUA, several connections.
        #expect(about[0].data == [0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0x01, 0x0f])
        #expect(about[1].data == [0, 3, 0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0])
        #expect(about[2].data == [0, 1] + Array("other".utf8))
        #expect(try client.option(7, RawClient.choice("other", [3, 1])) == about)
        #expect(try client.isUsable())
    }

    @Test func unknownOptionsAndTLSAreRefusedAndTheHagglingGoesOn() throws {
        let client = try RawClient(server.path)
        for number: UInt32 in [0, 4, 11, 77, .max] { #expect(try client.option(number, [1, 2, 3]).map(\.type) == [Self.unsupported]) }
        #expect(try client.option(5).map(\.type) == [Self.policy])
        #expect(try client.option(7, RawClient.choice("nobody")).map(\.type) == [Self.unknown])
        // Two exports: an empty name means neither.
        #expect(try client.option(7, RawClient.choice("")).map(\.type) == [Self.unknown])
        #expect(try client.option(7, RawClient.choice("disk")).last?.type == Self.acknowledged)
        #expect(try client.isUsable())
    }

    @Test func anEmptyNameMeansTheOnlyExport() throws {
        let server = try TestServer([RecordingExport()])
        #expect(try RawClient(server.path, export: "").isUsable())
    }

    @Test(arguments: [
        (3, [1]), (8, [1]), (6, []), (7, [0, 0, 0, 9, 65, 0, 0]), (7, [0, 0, 0, 1, 65, 0, 1]), (7, [0, 0, 0, 1, 65, 0, 0, 9]),
        (7, [0, 0, 0, 1, 0, 0, 0]), (7, [0, 0, 0, 1, 255, 0, 0]), (7, [255, 255, 255, 255, 65, 0, 0]), (9, [0, 0, 0, 0, 0, 0, 0, 1]),
        (10, [0, 0, 0, 0, 255, 255, 255, 255]), (10, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 65]), (10, [0, 0, 0, 0, 0, 0, 0, 0, 7]),
    ]) func malformedOptionsAreInvalid(option: Int, data: [Int]) throws {
        #expect(try types(UInt32(option), data.map { UInt8($0) }) == [Self.invalid])
    }

    @Test func contextsNeedStructuredReplies() throws {
        let client = try RawClient(server.path)
        #expect(try client.option(10, RawClient.query("disk", ["base:allocation"])).map(\.type) == [Self.invalid])
        #expect(try client.option(9, RawClient.query("disk", [])).map(\.type) == [Self.invalid])
    }

    @Test(arguments: [
        (9, [], true), (9, ["base:"], true), (9, ["base:allocation"], true), (9, ["qemu:"], false), (10, [], false), (10, ["base:"], false),
        (10, ["base:allocation"], true), (10, ["x", "base:allocation", "base:allocation"], true), (10, ["base:allocationx"], false),
    ]) func contextsAreMatched(option: Int, queries: [String], found: Bool) throws {
        #expect(try types(UInt32(option), RawClient.query("disk", queries)) == (found ? [4, Self.acknowledged] : [Self.acknowledged]))
        #expect(try types(UInt32(option), RawClient.query("nobody", queries)) == [Self.unknown])
    }

    @Test func aContextHoldsForItsExportOnly() throws {
        let client = try RawClient(server.path)
        _ = try client.option(8)
        _ = try client.option(10, RawClient.query("other", ["base:allocation"]))
        _ = try client.option(7, RawClient.choice("disk"))
        try client.request(7, length: 4096)
        #expect(try client.chunkError() == 22)
        #expect(try client.isUsable())
    }

    @Test func aFailedChoiceOfContextsForgetsTheFormerOne() throws {
        let client = try RawClient(server.path)
        _ = try client.option(8)
        _ = try client.option(10, RawClient.query("disk", ["base:allocation"]))
        #expect(try client.option(10, [1]).map(\.type) == [Self.invalid])
        _ = try client.option(7, RawClient.choice("disk"))
        try client.request(7, length: 4096)
        #expect(try client.chunkError() == 22)
    }

    @Test func abortIsAcknowledgedAndEnds() throws {
        let client = try RawClient(server.path)
        #expect(try client.option(2, [9, 9]).map(\.type) == [Self.acknowledged])
        #expect(try client.isCut())
    }

    @Test(arguments: [true, false]) func exportNameBeginsAtOnce(zeroes: Bool) throws {
        let client = try RawClient(server.path, flags: zeroes ? 1 : 3)
        try client.send {
            $0.append(bigEndian: Wire.optionMagic)
            $0.append(bigEndian: UInt32(1))
            $0.append(counted: "disk")
        }
        #expect(try client.receive(10) == [0, 0, 0, 0, 0, 0x10, 0, 0, 0x01, 0x6d])
        if zeroes { #expect(try client.receive(124) == [UInt8](repeating: 0, count: 124)) }
        #expect(try client.isUsable())
    }

    @Test func anUnknownExportByExportNameIsTheEnd() throws {
        let client = try RawClient(server.path)
        try client.send {
            $0.append(bigEndian: Wire.optionMagic)
            $0.append(bigEndian: UInt32(1))
            $0.append(counted: "nobody")
        }
        #expect(try client.isCut())
    }

    @Test func oversizedOptionsAreRefusedAndEnormousOnesCut() throws {
        let client = try RawClient(server.path)
        #expect(try client.option(7, [UInt8](repeating: 0, count: 65537)).map(\.type) == [Self.tooBig])
        #expect(try client.option(77, [UInt8](repeating: 0, count: 1 << 20)).map(\.type) == [Self.tooBig])
        #expect(try client.option(3).last?.type == Self.acknowledged)
        try client.send {
            $0.append(bigEndian: Wire.optionMagic)
            $0.append(bigEndian: UInt32(7))
            $0.append(bigEndian: UInt32.max)
        }
        #expect(try client.isCut())
    }

    @Test func optionsThatNeverEndAreCut() throws {
        let client = try RawClient(server.path)
        for _ in 0..<Handshake.optionLimit { #expect(try client.option(77).map(\.type) == [Self.unsupported]) }
        #expect(try client.isCut())
    }

    @Test func aWrongMagicNumberIsTheEnd() throws {
        let client = try RawClient(server.path)
        try client.send { $0 += [UInt8](repeating: 0x55, count: 16) }
        #expect(try client.isCut())
        try Tool.eventually("a report") { server.reported.contains { $0.code == .protocolViolation } }
    }
}
