// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing
import UnderstudyCore

@testable import Links

@Suite(.serialized) struct EpochStreamTests {
    static let pageCount = 1_000
    static let blockLengths: [UInt64] = [64 << 20]

    /// Sends an epoch of an arena's pages; every second run of ten pages starts elsewhere in the block.
    static func send(_ epoch: UInt64, _ arena: UnsafeRawBufferPointer, _ encoder: inout EpochEncoder, to stream: SealedStream) throws {
        let emit = { (pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(LinkError) in
            try stream.writer.write(pieces, deadline: .soon())
        }
        let identity = EpochIdentity(generation: 1, sessionNonce: 2, epoch: epoch)
        try encoder.begin(.init(identity: identity, kind: .checkpoint), emit: emit)
        for run in stride(from: 0, to: arena.count / 4096, by: 10) {
            let pages = UnsafeRawBufferPointer(rebasing: arena[run * 4096..<min(run + 10, arena.count / 4096) * 4096])
            try encoder.append(block: 0, offset: UInt64(run * 2 * 4096), pages: pages, emit: emit)
        }
        try encoder.deviceState(UnsafeRawBufferPointer(rebasing: arena[..<79_000]), emit: emit)
        try encoder.end(emit: emit)
        try stream.writer.flush(deadline: .soon())
    }

    /// Receives until the epoch is whole.
    static func receive(from stream: SealedStream, _ assembler: inout EpochAssembler) throws -> StagedEpoch {
        while true {
            let length = try stream.reader.read(into: assembler.freeSpace, deadline: .soon())
            if case .complete(let epoch) = try assembler.accept(recordLength: length) { return epoch }
        }
    }

    @Test func `epochs of a thousand pages go over loopback byte for byte, and their time is reported`() throws {
        let bench = try ListenerBench()
        let (primary, backup) = try bench.pair()
        let source = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pageCount * 4096, alignment: 4096)
        defer { source.deallocate() }
        for offset in stride(from: 0, to: source.count, by: 8) {
            source.storeBytes(of: UInt64(offset) &* 0x9e37_79b9, toByteOffset: offset, as: UInt64.self)
        }
        let rounds = 40
        // SAFETY: the arena outlives the thread, which is joined below, and nobody writes to it.
        nonisolated(unsafe) let pages = UnsafeRawBufferPointer(source)
        let failures = Inbox<any Error>()
        let sending = try DedicatedThread(name: "test-sender") {
            var encoder = EpochEncoder()
            do {
                for epoch in 0..<rounds {
                    try Self.send(UInt64(epoch), pages, &encoder, to: primary)
                    _ = try primary.receive(deadline: .soon())
                }
            } catch { failures.put(error) }
        }
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 8 << 20, alignment: 4096)
        defer { arena.deallocate() }
        var times: [Duration] = []
        var assembler = EpochAssembler(arena: arena, blockLengths: Self.blockLengths)
        for round in 0..<rounds {
            let start = ContinuousClock.now
            let epoch = try Self.receive(from: backup, &assembler)
            try backup.send(.acknowledgement(epoch.end.identity), deadline: .soon())
            times.append(ContinuousClock.now - start)
            if round == 0 || round == rounds - 1 { try Self.compare(epoch, with: pages) }
            assembler.reset()
        }
        sending.join()
        #expect(failures.isEmpty)
        times.sort()
        print("1,000 raw pages, encode to acknowledged over loopback: median \(times[rounds / 2]), best \(times[0])")
    }

    private static func compare(_ epoch: StagedEpoch, with arena: UnsafeRawBufferPointer) throws {
        var index = 0
        for page in epoch.pages {
            #expect(page.offset == UInt64((index / 10 * 20 + index % 10) * 4096))
            switch page.content {
            case .whole(let content): #expect(memcmp(content, arena.baseAddress! + index * 4096, 4096) == 0)
            case .zero: #expect(isZeroPage(arena.baseAddress! + index * 4096))
            case .delta: Issue.record("a delta without a reference")
            }
            index += 1
        }
        #expect(index == pageCount)
        var state = [UInt8](repeating: 0, count: epoch.deviceStateRoom)
        #expect(state.withUnsafeMutableBytes { epoch.copyDeviceState(into: $0, previous: .init(start: nil, count: 0)) } == 79_000)
        #expect(Array(state[..<79_000]) == Array(arena[..<79_000]))
    }

    @Test func `an epoch whose stream is cut at any record boundary or byte is never complete`() throws {
        let bench = try RecordBench()
        let (plaintexts, arena) = Self.plaintextRecords()
        defer { arena.deallocate() }
        let sealed = try bench.seal(plaintexts)
        let bytes = sealed.flatMap { $0 }
        let boundaries = sealed.indices.map { sealed[..<$0].reduce(0) { $0 + $1.count } }
        for cut in boundaries + (0..<100).map({ _ in Int.random(in: 0..<bytes.count) }) + [bytes.count] {
            let complete = try Self.isComplete(try bench.open(Array(bytes[..<cut])).delivered)
            #expect(complete == (cut == bytes.count), "cut at \(cut)")
        }
    }

    private static func plaintextRecords() -> ([[UInt8]], UnsafeMutableRawBufferPointer) {
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 40 * 4096, alignment: 4096)
        arena.initializeMemory(as: UInt8.self, repeating: 7)
        var encoder = EpochEncoder()
        var records: [[UInt8]] = []
        func emit(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>) { records.append(pieces.flatMap { Array($0) }) }
        encoder.begin(.init(identity: ListenerBench.base, kind: .checkpoint), emit: emit)
        encoder.append(block: 0, offset: 0, pages: UnsafeRawBufferPointer(arena), emit: emit)
        encoder.deviceState(UnsafeRawBufferPointer(rebasing: arena[..<79_000]), emit: emit)
        encoder.end(emit: emit)
        return (records, arena)
    }

    private static func isComplete(_ records: [[UInt8]]) throws -> Bool {
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { arena.deallocate() }
        var assembler = EpochAssembler(arena: arena, blockLengths: blockLengths)
        for record in records {
            assembler.freeSpace.copyBytes(from: record)
            if case .complete = try assembler.accept(recordLength: record.count) { return true }
        }
        return false
    }

    @Test(arguments: [4096, 65_536]) func `sealing and opening 64 KiB records is measured`(pieceLength: Int) throws {
        let bench = try RecordBench()
        var seal = try RecordCipher(bench.keys.primaryToBackup, encrypts: true)
        var open = try RecordCipher(bench.keys.primaryToBackup, encrypts: false)
        let (plain, sealed) = (
            [UInt8](repeating: 3, count: 65_536), UnsafeMutableRawBufferPointer.allocate(byteCount: 65_552, alignment: 64)
        )
        defer { sealed.deallocate() }
        let opened = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 64)
        defer { opened.deallocate() }
        var (sealing, opening): (Duration, Duration) = (.zero, .zero)
        let rounds = 2_000
        for _ in 0..<rounds {
            let start = ContinuousClock.now
            try plain.withUnsafeBytes { bytes in
                let pieces = stride(from: 0, to: bytes.count, by: pieceLength).map {
                    UnsafeRawBufferPointer(rebasing: bytes[$0..<$0 + pieceLength])
                }
                try pieces.withUnsafeBufferPointer { try seal.seal($0, into: sealed) }
            }
            let middle = ContinuousClock.now
            #expect(try open.open(UnsafeRawBufferPointer(sealed), into: opened))
            sealing += middle - start
            opening += ContinuousClock.now - middle
        }
        let gigabytes = Double(rounds * 65_536) / 1e9
        let (sealRate, openRate) = (gigabytes / (sealing / .seconds(1)), gigabytes / (opening / .seconds(1)))
        print("AES-256-GCM, 64 KiB records in pieces of \(pieceLength) bytes: seal \(sealRate) GB/s, open \(openRate) GB/s")
    }
}
