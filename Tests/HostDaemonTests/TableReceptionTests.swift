import Foundation
import Glibc
import Links
import Synchronization
import Testing
import UnderstudyCore

@testable import HostDaemon

/// What a peer may say of its images, and what ends the protection.
@Suite struct TableReceptionTests {
    /// A primary's end, with a test in the backup's place.
    private final class Ends {
        let comparison: BlockComparison
        let reception: TableReception
        private let backup: SealedStream
        private let listener: CheckpointListener

        init() throws {
            let (session, key) = (try CheckpointSessionID.random(), try CheckpointSessionKey.random())
            let accepted = Mutex<SealedStream?>(nil)
            listener = try CheckpointListener(
                host: "127.0.0.1", port: 0,
                handlers: .init(key: { $0 == session ? key : nil }, accepted: { stream, _ in accepted.withLock { $0 = stream } }))
            let stream = try SealedStream.connect(
                host: "127.0.0.1", port: listener.port, session: session, key: key, deadline: .now + .seconds(60))
            try stream.send(.hello(WireMessage.Hello(role: .primary, base: ReplicaBench.identity(0))), deadline: .now + .seconds(60))
            while accepted.withLock({ $0 == nil }) { usleep(1000) }
            backup = accepted.withLock { $0 }!
            let queue = try WriteQueue(byteCount: 64 << 20, patience: 60_000_000_000) { _ in }
            comparison = BlockComparison(disk: 0, byteCount: 1 << 20, queue: queue)
            reception = TableReception(stream: stream, comparisons: [comparison])
        }

        deinit { listener.stop() }

        func say(_ content: TableMessage.Content) throws { try say(TableMessage.encode(content)) }

        func say(_ bytes: [UInt8]) throws {
            try bytes.withUnsafeBytes { bytes in
                var piece = bytes
                try withUnsafePointer(to: &piece) {
                    try backup.writer.write(UnsafeBufferPointer(start: $0, count: 1), deadline: .now + .seconds(60))
                }
            }
            try backup.writer.flush(deadline: .now + .seconds(60))
        }

        /// Says what an image holds.
        func say(of image: RawImage) throws { try ImageChecksums(images: [image]).send(over: backup) }

        /// Hears until the end or an error.
        func hear() throws {
            let end = MonotonicClock.now + 60_000_000_000
            while !reception.isComplete {
                try reception.takeArrived()
                guard MonotonicClock.now < end else { throw HostDaemonError(.system, "waited in vain") }
            }
        }
    }

    private static let key = TableMessage.Content.key([UInt8](repeating: 1, count: 32))

    @Test func `a whole table is taken, and what is not in it stays unknown`() throws {
        let ends = try Ends()
        for content in [Self.key, .digests(disk: 0, first: 3, [BlockDigest(low: 1, high: 2)]), .zeroes(disk: 0, blocks: 4..<10), .end] {
            try ends.say(content)
        }
        try ends.hear()
        #expect(ends.comparison.reportedBytes == 7 * 65_536)
    }

    @Test func `a block of a copy that cannot be read is unknown, and so is sent`() throws {
        let ends = try Ends()
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("understudy-table-\(UUID().uuidString)").path
        defer { unlink(path) }
        try Data(repeating: 1, count: 1 << 20).write(to: URL(fileURLWithPath: path))
        let image = try RawImage(path: path, byteCount: 1 << 20)
        // What lies behind a file's end cannot be read.
        truncate(path, 4 * 65_536)
        try ends.say(of: image)
        try ends.hear()
        #expect(ends.comparison.reportedBytes == 4 * 65_536)
    }

    @Test func `a table without a key, with two, or of blocks that are not there ends the protection`() throws {
        let tables: [[[UInt8]]] = [
            [TableMessage.encode(.zeroes(disk: 0, blocks: 0..<1))], [TableMessage.encode(.end)],
            [TableMessage.encode(Self.key), TableMessage.encode(Self.key)],
            [TableMessage.encode(Self.key), TableMessage.encode(.zeroes(disk: 0, blocks: 15..<17))],
            [TableMessage.encode(Self.key), TableMessage.encode(.zeroes(disk: 1, blocks: 0..<1))],
            [TableMessage.encode(Self.key), [UInt8](repeating: 34, count: 20_000)],
        ]
        for table in tables {
            let ends = try Ends()
            for bytes in table { try ends.say(bytes) }
            #expect(throws: HostDaemonError.self) { try ends.hear() }
        }
    }
}
