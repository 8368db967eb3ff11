import Testing
import UnderstudyCore

@testable import Hypervisor

@Suite struct RAMBlockLocatorTests {
    private let mega: UInt64 = 1 << 20

    /// A map with one guarded block per (start, length).
    private func map(_ blocks: [(UInt64, UInt64)]) -> MemoryMap {
        MemoryMap(
            mappings: blocks.sorted { $0.0 < $1.0 }.flatMap { start, length in
                [
                    MemoryMapping(start: start, end: start + length, isAccessible: true, isWritable: true, path: ""),
                    MemoryMapping(start: start + length, end: start + length + 4096, isAccessible: false, isWritable: false, path: ""),
                ]
            })
    }

    private func locate(_ names: [(String, UInt64)], _ map: MemoryMap, _ contents: [UInt64: [UInt8]] = [:]) throws -> [UInt64] {
        try RAMBlockLocator(
            listings: names.map { RAMBlockListing(name: $0.0, usedLength: $0.1, totalLength: $0.1) }, sections: [], map: map,
            translate: { (_) throws(HypervisorError) in nil },
            read: { (address, length) throws(HypervisorError) in
                Array((contents[address] ?? []).prefix(length))
                    + [UInt8](repeating: 0, count: max(0, length - (contents[address]?.count ?? 0)))
            }
        ).locate().map(\.hostAddress)
    }

    @Test func aBlockIsFoundByItsLength() throws {
        #expect(try locate([("a", mega), ("b", 4096)], map([(2 * mega, mega), (4 * mega, 4096)])) == [2 * mega, 4 * mega])
    }

    @Test func whatIsNotAtABoundaryOrHasNoGuardIsNoBlock() {
        #expect(map([(mega, mega)]).candidates(length: mega) == [])
        var unguarded = map([(2 * mega, mega)])
        unguarded.mappings.removeLast()
        #expect(unguarded.candidates(length: mega) == [])
    }

    @Test func aBlockInPiecesAndABlockGrownTogetherWithItsNeighbourAreFound() {
        var pieces = map([(4 * mega, mega)])
        pieces.mappings[0].end = 4 * mega + 8192
        pieces.mappings.insert(MemoryMapping(start: 4 * mega + 8192, end: 5 * mega, isAccessible: true, isWritable: true, path: ""), at: 1)
        #expect(pieces.candidates(length: mega) == [4 * mega])
        var grown = map([(4 * mega, mega)])
        grown.mappings[0].start -= 4096
        #expect(grown.candidates(length: mega) == [4 * mega])
    }

    @Test func equalLengthsAreToldApartByContent() throws {
        let loader: [UInt8] = [1, 0, 0, 0] + Array("etc/acpi/rsdp".utf8)
        let found = try locate(
            [("0000:00:03.0/vga.rom", 65536), ("/rom@etc/table-loader", 65536)], map([(2 * mega, 65536), (4 * mega, 65536)]),
            [2 * mega: loader, 4 * mega: [0x55, 0xAA]])
        #expect(found == [4 * mega, 2 * mega])
    }

    @Test func equalROMsAreInterchangeableAndDifferentOnesAreNot() throws {
        let names: [(String, UInt64)] = [("a/x.rom", 65536), ("b/x.rom", 65536)]
        let places = map([(2 * mega, 65536), (4 * mega, 65536)])
        #expect(Set(try locate(names, places, [2 * mega: [0x55, 0xAA], 4 * mega: [0x55, 0xAA]])) == [2 * mega, 4 * mega])
        let error = #expect(throws: HypervisorError.self) {
            try locate(names, places, [2 * mega: [0x55, 0xAA, 1], 4 * mega: [0x55, 0xAA, 2]])
        }
        #expect(error?.code == .ramBlockAmbiguous)
    }

    @Test func blocksThatTheGuestCanWriteAreNeverGuessed() {
        let error = #expect(throws: HypervisorError.self) {
            try locate([("a", mega), ("b", mega)], map([(2 * mega, mega), (4 * mega, mega)]))
        }
        #expect(error?.code == .ramBlockAmbiguous)
    }

    @Test func aMissingBlockIsAnError() {
        #expect((#expect(throws: HypervisorError.self) { try locate([("a", mega)], map([])) })?.code == .ramBlockNotFound)
        #expect(
            (#expect(throws: HypervisorError.self) { try locate([("a", mega), ("b", mega)], map([(2 * mega, mega)])) })?.code
                == .ramBlockNotFound)
    }

    @Test func anAddressThatIsNotMappedIsNotBelieved() {
        let locator = RAMBlockLocator(
            listings: [RAMBlockListing(name: "a", usedLength: mega, totalLength: mega, hostAddress: 64 * mega)], sections: [],
            map: map([(2 * mega, mega)]), translate: { (_) throws(HypervisorError) in nil }, read: { (_, _) throws(HypervisorError) in [] })
        #expect((#expect(throws: HypervisorError.self) { try locator.locate() })?.code == .ramBlockNotFound)
    }
}
