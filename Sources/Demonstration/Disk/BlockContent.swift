import Glibc

/// What a disk of the block writers holds, judged from the image alone (`Guests/service/blocks.h`).
public struct BlockContent: Sendable, Equatable {
    /// The sequence number of each block; 0 for a block of zeros, nil for one that is neither whole nor zero, or not its own.
    public var sequences: [UInt64?]

    public var written: Int { sequences.count { $0 != nil && $0 != 0 } }
    public var damaged: Int { sequences.count { $0 == nil } }

    private static let blockLength = 4096
    private static let magic: UInt64 = 0x314b_434f_4c42_5355

    /// Reads an image that nobody writes to at the moment.
    public static func read(from image: DiskImage) throws(DemonstrationError) -> BlockContent {
        try image.withRawCopy { copy throws(DemonstrationError) in
            let descriptor = open(copy, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { throw LabSystem.failure(.file, "cannot open \(copy)") }
            defer { close(descriptor) }
            var sequences = [UInt64?]()
            var words = [UInt64](repeating: 0, count: blockLength / 8)
            while true {
                let count = words.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
                guard count >= 0 else { throw LabSystem.failure(.file, "cannot read \(copy)") }
                guard count == blockLength else { return BlockContent(sequences: sequences) }
                sequences.append(sequence(of: words, number: UInt64(sequences.count)))
            }
        }
    }

    static func sequence(of words: [UInt64], number: UInt64) -> UInt64? {
        if words.allSatisfy({ $0 == 0 }) { return 0 }
        var sum: UInt64 = 0xcbf2_9ce4_8422_2325
        for (index, word) in words.enumerated() { sum = (sum ^ (index == 3 ? 0 : word)) &* 0x100_0000_01b3 }
        return words[0] == magic && words[1] == number && words[3] == sum ? words[2] : nil
    }
}
