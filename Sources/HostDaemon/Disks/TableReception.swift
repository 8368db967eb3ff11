internal import Links
internal import UnderstudyCore

/// Takes the backup's word about the images that it has, before anything of the disks is sent. Owned by the session thread.
final class TableReception {
    private let stream: SealedStream
    private let comparisons: [BlockComparison]
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: TableMessage.maximumLength, alignment: 8)
    private var hasKey = false
    /// Whether the backup has said everything.
    private(set) var isComplete = false

    init(stream: SealedStream, comparisons: [BlockComparison]) {
        self.stream = stream
        self.comparisons = comparisons
    }

    deinit { buffer.deallocate() }

    /// Takes everything that has arrived, without waiting.
    func takeArrived() throws(HostDaemonError) {
        do {
            while !isComplete, let length = try stream.reader.readAvailable(into: buffer) {
                try take(try TableMessage.decode(UnsafeRawBufferPointer(rebasing: buffer[..<length]), grids: comparisons.map(\.grid)))
            }
        } catch {
            throw HostDaemonError(.peer, "the backup's word about its copies of the disks broke off: \(error)", cause: error)
        }
    }

    private func take(_ content: TableMessage.Content) throws {
        if case .key(let key) = content, !hasKey {
            hasKey = true
            for comparison in comparisons { comparison.begin(try BlockHasher(key: key)) }
            return
        }
        guard hasKey else { throw WireFormatError(.unexpectedMessage, "a table of a disk begins without a key") }
        switch content {
        case .key: throw WireFormatError(.unexpectedMessage, "a second key for the tables of the disks")
        case .digests(let disk, let first, let digests): comparisons[disk].learn(digests, first: first)
        case .zeroes(let disk, let blocks): comparisons[disk].learnZeroes(in: blocks)
        case .end: isComplete = true
        }
    }
}
