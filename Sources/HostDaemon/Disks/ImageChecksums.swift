internal import Glibc
internal import Links
internal import Synchronization
internal import UnderstudyCore

/// Tells the primary what the images of its disks hold already, so that only what differs is sent.
///
/// Nothing is remembered from before: whatever a crash, a broken-off copy or a guest that ran on an image left there, it is read from the
/// file, which this daemon has locked by then. Several threads read and hash; holes are not read.
final class ImageChecksums: Sendable {
    private struct Part {
        var disk: Int
        var blocks: Range<Int>
    }

    private let images: [RawImage]
    private let grids: [BlockGrid]
    private let parts: [Part]
    private let next = Atomic<Int>(0)
    private let bytesPerSecond: UInt64
    private let bytesRead = Atomic<UInt64>(0)
    private let isCancelled = Atomic<Bool>(false)
    private let failure = Mutex<(any Error)?>(nil)

    /// The most threads that read at a time: what an ordinary disk and a processor of today do well together.
    private static let mostThreads = 4
    /// Bytes that are read at once.
    private static let readLength = 1 << 20

    /// - Parameter bytesPerSecond: how fast all threads together may read; 0 without a limit.
    init(images: [RawImage], bytesPerSecond: UInt64 = 0) {
        self.images = images
        self.bytesPerSecond = bytesPerSecond
        grids = images.map { BlockGrid(byteCount: $0.byteCount) }
        parts = grids.enumerated().flatMap { disk, grid in
            stride(from: 0, to: grid.count, by: TableMessage.maximumDigests).map {
                Part(disk: disk, blocks: $0..<min(grid.count, $0 + TableMessage.maximumDigests))
            }
        }
    }

    /// Lets `send` come to an end at once.
    func cancel() { isCancelled.store(true, ordering: .relaxed) }

    /// Reads and hashes the images and sends their tables; returns when all is sent.
    ///
    /// - Throws: `LinkError` of the stream, `HostDaemonError` when an image cannot be read.
    func send(over stream: SealedStream) throws {
        // What a daemon before this one left in the page cache is made durable, or an error says that it cannot be.
        for image in images { try image.flush() }
        let key = try BlockHasher.newKey()
        try Self.send(.key(key), over: stream)
        let begun = MonotonicClock.now
        let threads = try (0..<min(Self.mostThreads, max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)), 1))).map { _ in
            try DedicatedThread(name: "disk-hasher") { [self] in
                do { try takeParts(key: key, begun: begun, stream: stream) } catch {
                    failure.withLock { $0 = $0 ?? error }
                    cancel()
                }
            }
        }
        for thread in threads { thread.join() }
        if let failure = failure.withLock({ $0 }) { throw failure }
        guard !isCancelled.load(ordering: .relaxed) else { throw LinkError(.shutDown, "the comparison of the disks was given up") }
        try Self.send(.end, over: stream)
        try stream.writer.flush(deadline: .now + .seconds(86_400))
    }

    private static func send(_ content: TableMessage.Content, over stream: SealedStream) throws(LinkError) {
        let bytes = TableMessage.encode(content)
        try bytes.span.withUnsafeBytes { bytes throws(LinkError) in
            var piece = bytes
            try withUnsafePointer(to: &piece) { piece throws(LinkError) in
                try stream.writer.write(UnsafeBufferPointer(start: piece, count: 1), deadline: .now + .seconds(86_400))
            }
        }
    }

    private func takeParts(key: [UInt8], begun: UInt64, stream: SealedStream) throws {
        let hasher = try BlockHasher(key: key)
        let length = grids.reduce(Self.readLength) { max($0, Int($1.blockBytes)) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            let number = next.add(1, ordering: .relaxed).oldValue
            guard number < parts.count else { return }
            try examine(parts[number], hasher: hasher, buffer: buffer) { content in
                try Self.send(content, over: stream)
                pace(since: begun)
            }
            try stream.writer.flush(deadline: .now + .seconds(86_400))
        }
    }

    /// Waits until so much may have been read.
    private func pace(since begun: UInt64) {
        guard bytesPerSecond > 0 else { return }
        let due = Double(bytesRead.load(ordering: .relaxed)) / Double(bytesPerSecond)
        while !isCancelled.load(ordering: .relaxed), Double(MonotonicClock.now - begun) / 1e9 < due { usleep(5_000) }
    }

    private func examine(
        _ part: Part, hasher: BlockHasher, buffer: UnsafeMutableRawBufferPointer, send: (TableMessage.Content) throws -> Void
    ) throws {
        let (image, grid) = (images[part.disk], grids[part.disk])
        var run = TableRun(disk: part.disk, first: part.blocks.lowerBound)
        var block = part.blocks.lowerBound
        while block < part.blocks.upperBound {
            guard !isCancelled.load(ordering: .relaxed) else { return }
            let data = try image.nextData(from: grid.range(of: block).lowerBound).map { Int($0 / grid.blockBytes) }
            let full = min(data ?? part.blocks.upperBound, part.blocks.upperBound)
            for hole in block..<max(block, full) { try run.add(nil, block: hole, send) }
            block = max(block, full)
            let end = min(part.blocks.upperBound, block + buffer.count / Int(grid.blockBytes))
            guard block < end else { continue }
            let start = grid.range(of: block).lowerBound
            let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(grid.range(of: end - 1).upperBound - start)])
            let isReadable = Self.read(bytes, of: image, at: start)
            bytesRead.add(UInt64(bytes.count), ordering: .relaxed)
            while block < end {
                let place = grid.range(of: block)
                let content = UnsafeMutableRawBufferPointer(
                    rebasing: bytes[Int(place.lowerBound - start)..<Int(place.upperBound - start)])
                defer { block += 1 }
                guard isReadable || Self.read(content, of: image, at: place.lowerBound) else {
                    // Nothing is said of a block that its disk does not give any more: so it is sent.
                    try run.end(send)
                    continue
                }
                let found = UnsafeRawBufferPointer(content)
                try run.add(isZero(found) ? nil : try digest(found, part.disk, block, hasher), block: block, send)
            }
            // Whoever waits sees that it goes on.
            try run.end(send)
        }
        try run.end(send)
    }

    private static func read(_ bytes: UnsafeMutableRawBufferPointer, of image: RawImage, at offset: UInt64) -> Bool {
        do throws(HostDaemonError) {
            try image.read(into: bytes, at: offset)
            return true
        } catch { return false }
    }

    private func digest(_ bytes: UnsafeRawBufferPointer, _ disk: Int, _ block: Int, _ hasher: BlockHasher) throws -> BlockDigest {
        guard let digest = hasher.digest(disk: disk, block: block, of: bytes) else {
            throw HostDaemonError(.system, "libcrypto failed to hash a disk's copy; check the installation of OpenSSL 3")
        }
        return digest
    }
}

/// Blocks in a row that go into one message: digests, or zeroes.
private struct TableRun {
    let disk: Int
    var first: Int
    private var digests: [BlockDigest] = []
    private var zeroes = 0

    init(disk: Int, first: Int) {
        self.disk = disk
        self.first = first
    }

    /// Adds the next block; nil for zeroes.
    mutating func add(_ digest: BlockDigest?, block: Int, _ send: (TableMessage.Content) throws -> Void) throws {
        if digest == nil ? !digests.isEmpty : zeroes > 0 { try end(send) }
        if digests.isEmpty, zeroes == 0 { first = block }
        if let digest { digests.append(digest) } else { zeroes += 1 }
    }

    mutating func end(_ send: (TableMessage.Content) throws -> Void) throws {
        if zeroes > 0 { try send(.zeroes(disk: disk, blocks: first..<first + zeroes)) }
        if !digests.isEmpty { try send(.digests(disk: disk, first: first, digests)) }
        digests.removeAll(keepingCapacity: true)
        zeroes = 0
    }
}
