// SPDX-License-Identifier: Apache-2.0

/// The plaintext of the checkpoint stream: one message per sealed record.
///
/// All integers are little-endian. Every message begins with a header of 16 bytes:
///
/// | offset | size | field                                                          |
/// |-------:|-----:|----------------------------------------------------------------|
/// |      0 |    1 | type (`Kind`)                                                  |
/// |      1 |    1 | reserved, zero                                                 |
/// |      2 |    2 | RAM block index (`pages` only, else zero)                      |
/// |      4 |    4 | length of the whole message in bytes, header included          |
/// |      8 |    4 | first parameter, by type                                       |
/// |     12 |    4 | second parameter, by type                                      |
///
/// Messages other than `pages`, `deviceState`, `deviceDelta` and `packed` go on with an identity of 24 bytes: generation, session nonce
/// and epoch (u64 each). The messages:
///
/// | type | name              | first parameter  | second parameter   | after header (and identity)                       |
/// |-----:|-------------------|------------------|--------------------|---------------------------------------------------|
/// |    1 | `hello`           | protocol version | role               | identity; nothing more (40 bytes)                 |
/// |    2 | `epochBegin`      | kind             | round              | identity; nothing more (40 bytes)                 |
/// |    3 | `pages`           | entries E        | content bytes C    | E entries (u64), zeros up to 16, C bytes          |
/// |    4 | `deviceState`     | offset           | total              | bytes of the state from the offset on             |
/// |    5 | `epochEnd`        | zero             | zero               | identity; pageCount, zeroCount, deviceStateLength, recordCount (u64 each; 72 bytes) |
/// |    6 | `acknowledgement` | zero             | zero               | identity; nothing more (40 bytes)                 |
/// |    7 | `refusal`         | code             | text length        | identity; UTF-8 text of at most 1,024 bytes       |
/// |    8 | `deviceDelta`     | offset           | total              | pieces of the state from the offset on, see `DeviceStateDelta` |
/// |    9 | `packed`          | 1 LZ4, 2 zstd    | length unpacked    | one message of another type, compressed whole     |
///
/// A `pages` entry is the page's byte offset in its RAM block (a multiple of 4,096) with a number in the lowest 12 bits: 0: the
/// page follows whole (4,096 bytes); 4,095: it is zero and nothing follows; 1 to 3,072: a delta of so many bytes against the
/// page as it was sent last on this stream follows (`PageDelta`). The contents follow in the entries' order without gaps. A page
/// that is not named is as it was.
///
/// The primary sends `hello` first, then epochs: `epochBegin`, any number of `pages` and `deviceState` (or `deviceDelta`)
/// messages, `epochEnd`. Each of these may come `packed`. The backup answers `hello` with `hello`, and each epoch with `acknowledgement` or `refusal`.
public enum WireFormat {
    /// The version of this format; both sides must speak the same one.
    public static let protocolVersion: UInt32 = 2
    /// Bytes of a guest page.
    public static let pageSize = 4096
    /// The largest plaintext of one record in bytes.
    public static let maximumRecordLength = 65536
    /// The largest number of whole pages that fit one `pages` message beside their entries.
    public static let maximumWholePagesPerRecord = 15
    /// The largest device state in bytes.
    public static let maximumDeviceStateLength = 64 << 20
    /// The largest text of a refusal in bytes of UTF-8.
    public static let maximumRefusalTextLength = 1024

    static let headerLength = 16
    static let identityLength = 24
    /// The lowest 12 bits of the entry of a zero page.
    static let zeroPage: UInt64 = 4095

    /// The type of a message, its first byte.
    public enum Kind: UInt8, Sendable {
        case hello = 1
        case epochBegin = 2
        case pages = 3
        case deviceState = 4
        case epochEnd = 5
        case acknowledgement = 6
        case refusal = 7
        case deviceDelta = 8
        case packed = 9
    }
}
