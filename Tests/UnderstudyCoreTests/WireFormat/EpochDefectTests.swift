// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

@Suite struct EpochDefectTests {
    @Test func `an epoch cut at any record boundary never verifies`() {
        let sample = SampleEpoch.ordinary()
        for count in 0..<sample.records.count {
            let cut = sample.records[..<count].flatMap { $0 }
            #expect(throws: WireFormatError.self) { try stagedEpoch(cut) { _ in } }
        }
        #expect(throws: Never.self) { try stagedEpoch(sample.bytes) { _ in } }
    }

    @Test func `an epoch that broke off is named by what it began with`() {
        let bytes = SampleEpoch.ordinary().bytes
        func name(_ part: some Sequence<UInt8>) -> EpochIdentity? {
            [UInt8](part).withUnsafeBytes { StagedEpoch.identity(ofUnfinished: $0) }
        }
        #expect(name(bytes.prefix(bytes.count / 2)) == SampleEpoch.identity)
        #expect(name(bytes.prefix(40)) == SampleEpoch.identity)
        #expect(name(bytes.prefix(39)) == nil)
        #expect(name(bytes.dropFirst(40)) == nil)
        #expect(name([UInt8]()) == nil)
    }

    @Test func `an epoch cut at any byte never verifies`() {
        var generator = WireFormatGenerator(seed: 1)
        let bytes = SampleEpoch.ordinary().bytes
        for _ in 0..<300 {
            let cut = Int.random(in: 0..<bytes.count, using: &generator)
            #expect(throws: WireFormatError.self) { try stagedEpoch(Array(bytes[..<cut])) { _ in } }
        }
    }

    @Test func `a withheld, doubled or foreign record never verifies`() {
        let sample = SampleEpoch.ordinary()
        for index in sample.records.indices {
            var records = sample.records
            records.remove(at: index)
            #expect(throws: WireFormatError.self) { try stagedEpoch(records.flatMap { $0 }) { _ in } }
            records = sample.records
            records.insert(records[index], at: index)
            #expect(throws: WireFormatError.self) { try stagedEpoch(records.flatMap { $0 }) { _ in } }
            for message in Self.foreign {
                records = sample.records
                records.insert(message.encoded, at: index)
                #expect(throws: WireFormatError.self) { try stagedEpoch(records.flatMap { $0 }) { _ in } }
            }
        }
    }

    private static let foreign: [WireMessage] = [
        .hello(.init(role: .primary, base: SampleEpoch.identity)), .acknowledgement(SampleEpoch.identity),
        .refusal(.init(identity: SampleEpoch.identity, code: 1, message: "no")),
    ]

    @Test func `an end of another epoch never verifies`() {
        var sample = SampleEpoch.ordinary()
        guard case .epochEnd(var end)? = try? sample.records.last!.withUnsafeBytes({ try WireMessage(decoding: $0) }) else {
            Issue.record("the last record is no end")
            return
        }
        end.identity = EpochIdentity(generation: 7, sessionNonce: 0x0123_4567_89ab_cdef, epoch: 43)
        sample.records[sample.records.count - 1] = WireMessage.epochEnd(end).encoded
        #expect(throws: WireFormatError.self) { try stagedEpoch(sample.bytes) { _ in } }
    }

    @Test(arguments: [
        (UInt16(0), UInt64(64 << 20), "behind the block"), (2, 4096, "behind a block of one page"), (3, 0, "no such block"),
        (0, UInt64.max & ~4095, "a sum that overflows"),
    ])
    func `a page outside of its RAM block never verifies`(block: UInt16, offset: UInt64, reason: String) {
        let sample = SampleEpoch(runs: [(block, offset, [1])])
        #expect(throws: WireFormatError.self, "\(reason)") { try stagedEpoch(sample.bytes) { _ in } }
        let zero = SampleEpoch(runs: [(block, offset, [0])])
        #expect(throws: WireFormatError.self, "\(reason)") { try stagedEpoch(zero.bytes) { _ in } }
    }

    @Test func `the assembler takes records one by one and shows the epoch only when it is whole`() throws {
        let sample = SampleEpoch.ordinary()
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: sample.bytes.count, alignment: 64)
        defer { arena.deallocate() }
        var assembler = EpochAssembler(arena: arena, blockLengths: SampleEpoch.blockLengths)
        for round in 0..<2 {
            for (index, record) in sample.records.enumerated() {
                assembler.freeSpace.copyBytes(from: record)
                switch try assembler.accept(recordLength: record.count) {
                case .incomplete: #expect(index < sample.records.count - 1)
                case .complete(let epoch):
                    #expect(index == sample.records.count - 1)
                    #expect(epoch.copiedPages == sample.pages)
                }
            }
            #expect(assembler.stagedBytes == sample.bytes.count, "round \(round)")
            #expect(throws: WireFormatError.self) { try assembler.accept(recordLength: 0) }
            assembler.reset()
        }
    }

    @Test func `the assembler refuses a record that is not exactly one message, and stays failed`() throws {
        let sample = SampleEpoch.ordinary()
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: sample.bytes.count + 64, alignment: 64)
        defer { arena.deallocate() }
        var assembler = EpochAssembler(arena: arena, blockLengths: SampleEpoch.blockLengths)
        assembler.freeSpace.copyBytes(from: sample.records[0] + [0])
        #expect(throws: WireFormatError.self) { try assembler.accept(recordLength: sample.records[0].count + 1) }
        assembler.freeSpace.copyBytes(from: sample.records[0])
        #expect(throws: WireFormatError.self) { try assembler.accept(recordLength: sample.records[0].count) }
        assembler.reset()
        assembler.freeSpace.copyBytes(from: sample.records[0])
        _ = try assembler.accept(recordLength: sample.records[0].count)
        #expect(throws: WireFormatError.self) { try assembler.accept(recordLength: arena.count) }
    }
}
