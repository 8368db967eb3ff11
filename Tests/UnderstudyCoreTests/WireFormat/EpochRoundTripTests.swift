// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

@Suite struct EpochRoundTripTests {
    @Test func `an epoch arrives as it was encoded, page by page and with its device state`() throws {
        let sample = SampleEpoch.ordinary()
        try stagedEpoch(sample.bytes) { epoch in
            #expect(epoch.begin == WireMessage.EpochBegin(identity: SampleEpoch.identity, kind: .checkpoint))
            #expect(epoch.copiedPages == sample.pages)
            #expect(epoch.end.pageCount == UInt64(sample.pages.count))
            #expect(epoch.end.zeroCount == UInt64(sample.pages.filter { $0.content.allSatisfy { $0 == 0 } }.count))
            #expect(epoch.end.recordCount == UInt64(sample.records.count))
            var state = [UInt8](repeating: 0, count: epoch.deviceStateRoom)
            #expect(
                state.withUnsafeMutableBytes { epoch.copyDeviceState(into: $0, previous: .init(start: nil, count: 0)) }
                    == sample.deviceState.count)
            #expect(Array(state[..<sample.deviceState.count]) == sample.deviceState)
        }
    }

    @Test func `no record is larger than the limit and full records carry 15 whole pages`() {
        let sample = SampleEpoch(runs: [(0, 0, Array(repeating: 7, count: 100))])
        #expect(sample.records.allSatisfy { $0.count <= WireFormat.maximumRecordLength })
        #expect(sample.records.filter { $0[0] == WireFormat.Kind.pages.rawValue }.count == 7)
    }

    @Test func `zero pages cost eight bytes each`() {
        let sample = SampleEpoch(runs: [(0, 0, Array(repeating: 0, count: 10_000))])
        let pages = sample.records.filter { $0[0] == WireFormat.Kind.pages.rawValue }
        #expect(pages.count == 2)
        #expect(pages.reduce(0) { $0 + $1.count } <= 10_000 * 8 + 64)
    }

    @Test func `adjacent pages are one piece that points into the arena`() {
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 10 * 4096, alignment: 4096)
        defer { arena.deallocate() }
        arena.initializeMemory(as: UInt8.self, repeating: 3)
        var encoder = PageRecordEncoder()
        var pieces: [UnsafeRawBufferPointer] = []
        encoder.append(block: 0, offset: 0, pages: UnsafeRawBufferPointer(arena), references: nil, emit: { _ in })
        encoder.flush { pieces = Array($0) }
        #expect(pieces.count == 2)
        #expect(pieces[1].baseAddress == UnsafeRawPointer(arena.baseAddress!))
        #expect(pieces[1].count == 10 * 4096)
        #expect(pieces[0].count.isMultiple(of: 16))
    }

    @Test func `a synchronisation round needs no device state, a checkpoint does`() throws {
        let round = SampleEpoch(kind: .synchronisation(round: 3), runs: [(0, 0, [1])], deviceState: [])
        try stagedEpoch(round.bytes) { epoch in
            #expect(epoch.begin.kind == .synchronisation(round: 3))
            #expect(epoch.end.deviceStateLength == 0)
        }
        let checkpoint = SampleEpoch(kind: .checkpoint, runs: [(0, 0, [1])], deviceState: [])
        #expect(throws: WireFormatError.self) { try stagedEpoch(checkpoint.bytes) { _ in } }
    }

    @Test func `an epoch without pages is an epoch`() throws {
        try stagedEpoch(SampleEpoch(runs: []).bytes) { epoch in #expect(epoch.copiedPages.isEmpty) }
    }

    @Test func `an encoder can begin anew after a broken epoch`() throws {
        struct Broken: Error {}
        var encoder = EpochEncoder()
        let page = [UInt8](repeating: 8, count: 4096)
        var bytes: [UInt8] = []
        page.withUnsafeBytes { page in
            encoder.begin(WireMessage.EpochBegin(identity: SampleEpoch.identity, kind: .checkpoint)) { _ in }
            encoder.append(block: 1, offset: 4096, pages: page) { _ in }
            #expect(throws: Broken.self) { try encoder.end { _ throws(Broken) in throw Broken() } }
            func emit(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>) { bytes += pieces.flatMap { Array($0) } }
            encoder.begin(WireMessage.EpochBegin(identity: SampleEpoch.identity, kind: .synchronisation(round: 1)), emit: emit)
            encoder.append(block: 0, offset: 0, pages: page, emit: emit)
            encoder.end(emit: emit)
        }
        try stagedEpoch(bytes) { epoch in #expect(epoch.copiedPages.map(\.block) == [0]) }
    }

    @Test func `only a page of zeros is a zero page`() {
        var page = [UInt8](repeating: 0, count: 4096)
        #expect(page.withUnsafeBytes { isZeroPage($0.baseAddress!) })
        for position in [0, 1, 63, 64, 255, 256, 2047, 4032, 4095] {
            page[position] = 0x80
            #expect(!page.withUnsafeBytes { isZeroPage($0.baseAddress!) })
            page[position] = 0
        }
    }
}
