// SPDX-License-Identifier: Apache-2.0

import Glibc
import Testing
import UnderstudyCore

@testable import Links

@Suite(.serialized) struct RecordTests {
    static let plaintexts: [[UInt8]] = [
        [1], Array(repeating: 2, count: 65536), Array("three".utf8), Array(repeating: 4, count: 4096), [5, 5],
    ]

    @Test func `HKDF gives the output of RFC 5869's first test case`() throws {
        let output = try Cryptography.hkdf(
            key: Array(repeating: 0x0b, count: 22), salt: Array(0...0x0c), info: Array(0xf0...0xf9), count: 42)
        #expect(
            Hexadecimal.encode(output) == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    }

    @Test func `records arrive as they were sealed`() throws {
        let bench = try RecordBench()
        let sealed = try bench.seal(Self.plaintexts)
        #expect(sealed.map(\.count) == Self.plaintexts.map { $0.count + 20 })
        let (delivered, error) = try bench.open(sealed.flatMap { $0 })
        #expect(delivered == Self.plaintexts)
        #expect(error.code == .closed)
    }

    @Test func `a scattered record is the same as one piece`() throws {
        let bench = try RecordBench()
        let (near, far) = try RecordBench.socketPair()
        let writer = SealedWriter(socket: near, cipher: try RecordCipher(bench.keys.primaryToBackup, encrypts: true), batchBytes: 1)
        let plaintext = (0..<10_000).map { UInt8(truncatingIfNeeded: $0) }
        try plaintext.withUnsafeBytes { bytes in
            let pieces = [0..<1, 1..<1, 1..<17, 17..<4113, 4113..<10_000].map { UnsafeRawBufferPointer(rebasing: bytes[$0]) }
            try pieces.withUnsafeBufferPointer { try writer.write($0, deadline: .soon()) }
        }
        try writer.flush(deadline: .soon())
        let bytes = try #require(try far.receiveUpTo(20_000))
        #expect(try bench.open(bytes).delivered == [plaintext])
    }

    @Test func `keys change on both sides after their number of records`() throws {
        let bench = try RecordBench()
        let plaintexts = (0..<20).map { [UInt8($0)] }
        let bytes = try bench.seal(plaintexts, recordsPerKey: 3).flatMap { $0 }
        #expect(try bench.open(bytes, recordsPerKey: 3).delivered == plaintexts)
        let (delivered, error) = try bench.open(bytes)
        #expect(delivered == Array(plaintexts[..<3]) && error.code == .authenticationFailed, "control: one side keeps its key")
    }

    @Test func `a stream cut at any byte delivers whole records only`() throws {
        let bench = try RecordBench()
        let sealed = try bench.seal(Self.plaintexts)
        let bytes = sealed.flatMap { $0 }
        let boundaries = sealed.indices.map { sealed[..<$0].reduce(0) { $0 + $1.count } }
        var generator = SystemRandomNumberGenerator()
        for cut in boundaries + (0..<60).map({ _ in Int.random(in: 0..<bytes.count, using: &generator) }) {
            let (delivered, error) = try bench.open(Array(bytes[..<cut]))
            #expect(delivered == Array(Self.plaintexts[..<boundaries.dropFirst().filter { $0 <= cut }.count]), "cut at \(cut)")
            #expect(error.code == .closed)
        }
    }

    @Test func `a flipped bit is never delivered`() throws {
        let bench = try RecordBench()
        let sealed = try bench.seal(Self.plaintexts)
        let bytes = sealed.flatMap { $0 }
        let ends = sealed.indices.map { sealed[...$0].reduce(0) { $0 + $1.count } }
        let fields = ends.flatMap { [$0 - 1, $0 - 16, $0 - 17] } + [0, 1, 2, 3, 4]
        var generator = SystemRandomNumberGenerator()
        for position in fields + (0..<100).map({ _ in Int.random(in: 0..<bytes.count, using: &generator) }) {
            var altered = bytes
            altered[position] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            let (delivered, error) = try bench.open(altered)
            #expect(delivered == Array(Self.plaintexts[..<ends.filter { $0 <= position }.count]), "bit in byte \(position)")
            #expect([.authenticationFailed, .tooLarge, .closed].contains(error.code))
        }
    }

    @Test func `a repeated, withheld or moved record is never delivered`() throws {
        let bench = try RecordBench()
        let sealed = try bench.seal(Self.plaintexts)
        let orders: [(order: [Int], sound: Int)] = [([0, 0], 1), ([0, 2], 1), ([1, 0], 0), ([0, 1, 3, 2], 2), ([0, 1, 2, 0], 3)]
        for (order, sound) in orders {
            let (delivered, error) = try bench.open(order.flatMap { sealed[$0] })
            #expect(delivered == Array(Self.plaintexts[..<sound]), "order \(order)")
            #expect(error.code == .authenticationFailed)
        }
    }

    @Test func `another key, another connection and the other direction open nothing`() throws {
        let bench = try RecordBench()
        let bytes = try bench.seal(Self.plaintexts).flatMap { $0 }
        let id = try CheckpointSessionID.random()
        let reconnected = try StreamKeys(session: bench.key, primary: Preface(session: id), backup: Preface(session: id))
        for keys in [try RecordBench().keys.primaryToBackup, reconnected.primaryToBackup, bench.keys.backupToPrimary] {
            let (delivered, error) = try bench.open(bytes, with: keys)
            #expect(delivered.isEmpty && error.code == .authenticationFailed)
        }
    }

    @Test func `a length beyond the limit is refused before anything is waited for`() throws {
        let bench = try RecordBench()
        #expect(try bench.open([0xff, 0xff, 0xff, 0xff]).error.code == .tooLarge)
        #expect(try bench.open([0x11, 0x00, 0x01, 0x00]).error.code == .tooLarge)
        #expect(try bench.open([0x10, 0x00, 0x00, 0x00]).error.code == .authenticationFailed)
        #expect(try bench.open([0x10, 0x00, 0x01, 0x00]).error.code == .closed, "control: the largest length is waited for")
    }

    @Test func `a buffer that is too small loses no record`() throws {
        let bench = try RecordBench()
        let (near, far) = try RecordBench.socketPair()
        let writer = SealedWriter(socket: near, cipher: try RecordCipher(bench.keys.primaryToBackup, encrypts: true), batchBytes: 1)
        let reader = SealedReader(socket: far, cipher: try RecordCipher(bench.keys.primaryToBackup, encrypts: false), batchBytes: 1)
        try writer.write([1, 2, 3])
        var small = [UInt8](repeating: 0, count: 2)
        #expect { try small.withUnsafeMutableBytes { _ = try reader.read(into: $0, deadline: .soon()) } } throws: {
            ($0 as? LinkError)?.code == .bufferTooSmall
        }
        var enough = [UInt8](repeating: 0, count: 3)
        #expect(try enough.withUnsafeMutableBytes { try reader.read(into: $0, deadline: .soon()) } == 3)
        #expect(enough == [1, 2, 3])
    }

    @Test func `a writer that timed out goes on without a lost or doubled record`() throws {
        let bench = try RecordBench()
        let (near, far) = try RecordBench.socketPair()
        let writer = SealedWriter(socket: near, cipher: try RecordCipher(bench.keys.primaryToBackup, encrypts: true), batchBytes: 1 << 16)
        let reader = SealedReader(socket: far, cipher: try RecordCipher(bench.keys.primaryToBackup, encrypts: false), batchBytes: 1 << 16)
        var plaintext = [UInt8](repeating: 0, count: 60_000)
        var (written, read, timeouts): (UInt8, UInt8, Int) = (0, 0, 0)
        var arena = [UInt8](repeating: 0, count: 65_536)
        while read < 200 {
            if written < 200 {
                plaintext[0] = written
                do throws(LinkError) {
                    try writer.write(plaintext, deadline: .now)
                    written += 1
                    continue
                } catch {
                    #expect(error.code == .timedOut)
                    timeouts += 1
                }
            } else {
                do throws(LinkError) { try writer.flush(deadline: .now) } catch { #expect(error.code == .timedOut) }
            }
            while let length = try arena.withUnsafeMutableBytes({ try reader.readAvailable(into: $0) }) {
                #expect(length == 60_000 && arena[0] == read)
                read += 1
            }
        }
        #expect(timeouts > 0)
    }

    @Test func `shutting a stream down wakes a waiting reader and a waiting writer`() throws {
        let bench = try RecordBench()
        let (near, far) = try RecordBench.socketPair()
        let reader = SealedReader(socket: near, cipher: try RecordCipher(bench.keys.primaryToBackup, encrypts: false), batchBytes: 1)
        let writer = SealedWriter(socket: near, cipher: try RecordCipher(bench.keys.primaryToBackup, encrypts: true), batchBytes: 1)
        let ended = Inbox<LinkError.Code>()
        let reading = try DedicatedThread(name: "test-reader") {
            var room = [UInt8](repeating: 0, count: 16)
            do { _ = try room.withUnsafeMutableBytes { try reader.read(into: $0, deadline: .soon(.seconds(60))) } } catch {
                ended.put((error as? LinkError)?.code ?? .system)
            }
        }
        let writing = try DedicatedThread(name: "test-writer") {
            let plaintext = [UInt8](repeating: 0, count: 65_536)
            do throws(LinkError) {
                while true { try writer.write(plaintext, deadline: .soon(.seconds(60))) }
            } catch { ended.put(error.code) }
        }
        // The writer's thread is certain to wait once the far end holds as much as the socket takes.
        usleep(50_000)
        near.shutdown()
        #expect(ended.take() == .shutDown)
        #expect(ended.take() == .shutDown)
        reading.join()
        writing.join()
        withExtendedLifetime(far) {}
    }

    @Test func `a key is never printed`() throws {
        let key = try CheckpointSessionKey.random()
        var dumped = ""
        dump(key, to: &dumped)
        for text in ["\(key)", String(reflecting: key), dumped] { #expect(!text.contains(key.secretHexadecimal.prefix(8))) }
        #expect(CheckpointSessionKey(hexadecimal: key.secretHexadecimal)?.bytes == key.bytes)
        #expect(CheckpointSessionKey(hexadecimal: String(key.secretHexadecimal.dropLast())) == nil)
    }
}
