// SPDX-License-Identifier: Apache-2.0

/// Puts the records of one epoch together in a staging arena and verifies them on the way.
///
/// The receiver reads each record into `freeSpace` and calls `accept` with its length:
///
///     let length = try reader.read(into: assembler.freeSpace, deadline: deadline)
///     switch try assembler.accept(recordLength: length) { case .incomplete: ...; case .complete(let epoch): ... }
///
/// A reader that finds too little room in `freeSpace` says so (`.bufferTooSmall`): the epoch is larger than the arena.
///
/// An epoch becomes visible only as a whole. After an error, or when the epoch was applied, `reset` begins the next one.
public struct EpochAssembler {
    /// Whether the epoch is complete.
    public enum Progress {
        case incomplete
        /// The verified epoch; valid until the arena is written again.
        case complete(StagedEpoch)
    }

    private let arena: UnsafeMutableRawBufferPointer
    private let blockLengths: [UInt64]
    private var used = 0
    private var check = EpochCheck()
    private var failed = false

    /// - Parameters:
    ///   - arena: where the epoch is staged, kept by the caller as long as the assembler and its epochs live.
    ///   - blockLengths: bytes of each RAM block, by index.
    public init(arena: UnsafeMutableRawBufferPointer, blockLengths: [UInt64]) {
        self.arena = arena
        self.blockLengths = blockLengths
    }

    /// Where the next record's plaintext belongs: the rest of the arena.
    public var freeSpace: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: arena[used...])
    }

    /// Bytes staged so far.
    public var stagedBytes: Int { used }

    /// What the epoch being received began with; nil before its first record.
    public var begin: WireMessage.EpochBegin? { check.begin }

    /// Takes the record that was read to the start of `freeSpace`.
    ///
    /// - Parameter recordLength: bytes of the record, at most `freeSpace.count`.
    /// - Throws: `WireFormatError`; the epoch is then lost and every further call throws until `reset`.
    public mutating func accept(recordLength: Int) throws(WireFormatError) -> Progress {
        guard !failed, check.end == nil else {
            throw WireFormatError(.unexpectedMessage, "the epoch is over, the arena has to be reset first")
        }
        guard recordLength >= 0, recordLength <= arena.count - used else {
            failed = true
            throw WireFormatError(.arenaExhausted, "a record of \(recordLength) bytes does not fit \(arena.count - used) free bytes")
        }
        do {
            let record = UnsafeRawBufferPointer(rebasing: arena[used..<used + recordLength])
            let header = try WireHeader.read(record)
            try header.expect(length: recordLength)
            try check.accept(header, record, blockLengths: blockLengths)
        } catch {
            failed = true
            throw error
        }
        used += recordLength
        guard let begin = check.begin, let end = check.end else { return .incomplete }
        return .complete(StagedEpoch(begin: begin, end: end, verified: UnsafeRawBufferPointer(rebasing: arena[..<used])))
    }

    /// Forgets what was staged.
    public mutating func reset() {
        used = 0
        check = EpochCheck()
        failed = false
    }
}
