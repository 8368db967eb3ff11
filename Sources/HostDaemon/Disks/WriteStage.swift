internal import Glibc
internal import UnderstudyCore

/// The writes that arrived at the backup and are not in the images yet, in their order: one thread puts messages in, another takes them out.
///
/// Messages lie one behind the other in chunks. When more chunks are full than may stay in memory, the newest full ones go to a file; when
/// that is full too, the receiving thread waits, and with it the primary.
final class WriteStage: @unchecked Sendable {
    // SAFETY: the variables are only touched inside `lock`; a chunk's memory belongs to the thread that fills or empties it.
    static let chunkBytes = 1 << 20

    private enum Place {
        case memory(UnsafeMutableRawBufferPointer)
        case file(slot: Int)
    }

    private struct Chunk {
        var place: Place
        var length: Int
    }

    private let lock = ConditionLock()
    private var chunks: [Chunk] = []
    private var free: [UnsafeMutableRawBufferPointer] = []
    private var inMemory = 0
    private let memoryLimit: Int
    private var fileLimit: Int
    private var freeSlots: [Int] = []
    private var slots = 0
    private let descriptor: CInt
    private var isEnded = false
    /// Where the consumer is in the first chunk.
    private var position = 0

    /// - Parameters:
    ///   - memoryBytes: what may stay in memory.
    ///   - fileBytes: what may go to a file without a name in `folder`.
    init(memoryBytes: Int, fileBytes: Int, folder: String) throws(HostDaemonError) {
        memoryLimit = max(4, memoryBytes / Self.chunkBytes)
        fileLimit = fileBytes / Self.chunkBytes
        let path = "\(folder)/writes.spill"
        descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw HostDaemonError(.system, "the file \(path) for waiting writes cannot be made: \(String(cString: strerror(errno)))")
        }
        unlink(path)
    }

    deinit {
        close(descriptor)
        for chunk in chunks { if case .memory(let bytes) = chunk.place { bytes.deallocate() } }
        for bytes in free { bytes.deallocate() }
    }

    /// Bytes that wait.
    var backlog: UInt64 { lock.withLock { chunks.reduce(0) { $0 + UInt64($1.length) } - UInt64(position) } }

    /// Room for one message at the end of the newest chunk; nil when the stage has ended. Fill it and call `added`.
    func room() throws(HostDaemonError) -> UnsafeMutableRawBufferPointer? {
        try lock.withLock { () throws(HostDaemonError) in
            while !isEnded {
                if let last = chunks.last, case .memory(let bytes) = last.place,
                    Self.chunkBytes - last.length >= WireFormat.maximumRecordLength
                {
                    return UnsafeMutableRawBufferPointer(rebasing: bytes[last.length...])
                }
                if inMemory >= memoryLimit { try spill() }
                if inMemory < memoryLimit {
                    let bytes = free.popLast() ?? .allocate(byteCount: Self.chunkBytes, alignment: 4096)
                    inMemory += 1
                    chunks.append(Chunk(place: .memory(bytes), length: 0))
                } else {
                    _ = lock.wait()
                }
            }
            return nil
        }
    }

    /// A message of so many bytes was put into the last room.
    func added(_ length: Int) {
        lock.withLock {
            chunks[chunks.count - 1].length += length
            lock.announce()
        }
    }

    /// Writes the newest full chunk of memory to the file, if there is room; the two oldest are needed next and stay.
    private func spill() throws(HostDaemonError) {
        guard let index = chunks.indices.dropFirst(2).last(where: { if case .memory = chunks[$0].place { true } else { false } }),
            !freeSlots.isEmpty || slots < fileLimit, case .memory(let bytes) = chunks[index].place
        else { return }
        let slot = freeSlots.popLast() ?? slots
        let written = pwrite(descriptor, bytes.baseAddress, chunks[index].length, off_t(slot) * off_t(Self.chunkBytes))
        guard written == chunks[index].length else {
            // A file system without room is a full file: the primary waits.
            if written >= 0 || errno == ENOSPC {
                if slot < slots { freeSlots.append(slot) }
                fileLimit = slots
                return
            }
            throw HostDaemonError(.system, "waiting writes cannot be put aside in a file: \(String(cString: strerror(errno)))")
        }
        if slot == slots { slots += 1 }
        chunks[index].place = .file(slot: slot)
        free.append(bytes)
        inMemory -= 1
    }

    /// The oldest message, whole and valid until the consumer goes on by `consumed`; nil when none is there now.
    func next() throws(HostDaemonError) -> UnsafeRawBufferPointer? {
        try lock.withLock { () throws(HostDaemonError) in
            while let first = chunks.first {
                if position < first.length {
                    let bytes = try load(first)
                    let header = UnsafeRawBufferPointer(rebasing: bytes[position..<first.length])
                    return UnsafeRawBufferPointer(rebasing: header[..<Self.length(ofMessageIn: header)])
                }
                guard chunks.count > 1 else { break }
                drop(first)
            }
            return nil
        }
    }

    /// Brings the first chunk back into memory.
    private func load(_ chunk: Chunk) throws(HostDaemonError) -> UnsafeMutableRawBufferPointer {
        switch chunk.place {
        case .memory(let bytes): return bytes
        case .file(let slot):
            let bytes = free.popLast() ?? .allocate(byteCount: Self.chunkBytes, alignment: 4096)
            guard pread(descriptor, bytes.baseAddress, chunk.length, off_t(slot) * off_t(Self.chunkBytes)) == chunk.length else {
                free.append(bytes)
                throw HostDaemonError(.system, "writes that were put aside cannot be read again: \(String(cString: strerror(errno)))")
            }
            freeSlots.append(slot)
            inMemory += 1
            chunks[0].place = .memory(bytes)
            return bytes
        }
    }

    private func drop(_ first: Chunk) {
        if case .memory(let bytes) = first.place {
            inMemory -= 1
            if free.count < 8 { free.append(bytes) } else { bytes.deallocate() }
        }
        chunks.removeFirst()
        position = 0
        lock.announce()
    }

    /// Every message was examined before it was put in, so its length can be trusted.
    private static func length(ofMessageIn bytes: UnsafeRawBufferPointer) -> Int {
        DiskMessage.headerLength + Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
    }

    func consumed(_ message: UnsafeRawBufferPointer) { lock.withLock { position += message.count } }

    /// No more messages come.
    func end() {
        lock.withLock {
            isEnded = true
            lock.announce()
        }
    }
}
