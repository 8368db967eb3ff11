/// The bytes that the guest's service speaks (`Guests/service/init.c`); every integer is big-endian.
enum ServiceProtocol {
    static let streamPort: UInt16 = 7000
    static let datagramPort: UInt16 = 7001
    static let chainPort: UInt16 = 7002
    static let blocksPort: UInt16 = 7003
    static let journalPort: UInt16 = 7004
    static let loadPort: UInt16 = 7005
    static let replyLength = 72
    /// Oldest counter, last counter, count, base digest, head digest.
    static let pageHeaderLength = 88
    static let recordLength = 40
    /// Blocks written, wrong so far; of the last check: blocks, wrong, first wrong.
    static let blockStateLength = 40
    /// Records, whether the journal was ended.
    static let journalStateLength = 16

    /// Writes, nanoseconds.
    static let loadAnswerLength = 16

    /// client | number
    static func request(client: UInt64, number: UInt64) -> [UInt8] { bytes(client) + bytes(number) }

    /// first counter | maximum of records
    static func chainQuery(from counter: UInt64, maximum: UInt64) -> [UInt8] { bytes(counter) + bytes(maximum) }

    /// To the block writers: whether to check the disk. To the journal: whether to end it.
    static func diskQuery(order: Bool) -> [UInt8] { bytes(order ? 1 : 0) + bytes(0) }

    /// To the disk load: bytes per write | kind | milliseconds
    static func loadQuery(_ load: DiskLoad, milliseconds: UInt64) -> [UInt8] {
        bytes(UInt64(load.bytes)) + bytes((load.isRandom ? 1 : 0) | (load.isSynchronous ? 2 : 0)) + bytes(milliseconds)
    }

    /// client | number | counter | random | digest
    static func reply(_ bytes: ArraySlice<UInt8>, at instant: UInt64) -> (client: UInt64, reply: ReceivedReply) {
        let reply = ReceivedReply(
            request: word(bytes, 8), counter: word(bytes, 16), random: GuestRandom(high: word(bytes, 24), low: word(bytes, 32)),
            digest: digest(bytes, 40), receivedAt: instant)
        return (word(bytes, 0), reply)
    }

    /// counter | client | number | random
    static func record(_ bytes: ArraySlice<UInt8>) -> ChainRecord {
        ChainRecord(
            counter: word(bytes, 0), client: word(bytes, 8), request: word(bytes, 16),
            random: GuestRandom(high: word(bytes, 24), low: word(bytes, 32)))
    }

    static func digest(_ bytes: ArraySlice<UInt8>, _ offset: Int) -> Digest {
        Digest(word(bytes, offset), word(bytes, offset + 8), word(bytes, offset + 16), word(bytes, offset + 24))
    }

    static func word(_ bytes: ArraySlice<UInt8>, _ offset: Int) -> UInt64 {
        let start = bytes.startIndex + offset
        return bytes[start..<start + 8].reduce(0) { $0 << 8 | UInt64($1) }
    }

    private static func bytes(_ value: UInt64) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
}
