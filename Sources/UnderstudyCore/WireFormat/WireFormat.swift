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
/// Messages other than `pages` and `deviceState` go on with an identity of 24 bytes: generation, session nonce
/// and epoch (u64 each). The messages:
///
/// | type | name              | first parameter  | second parameter   | after header (and identity)                       |
/// |-----:|-------------------|------------------|--------------------|---------------------------------------------------|
/// |    1 | `hello`           | protocol version | role               | identity; nothing more (40 bytes)                 |
/// |    2 | `epochBegin`      | kind             | round              | identity; nothing more (40 bytes)                 |
/// |    3 | `pages`           | entries E        | raw pages R        | E entries (u64), zeros up to 16, R x 4096 bytes   |
/// |    4 | `deviceState`     | offset           | total              | bytes of the state from the offset on             |
/// |    5 | `epochEnd`        | zero             | zero               | identity; pageCount, zeroCount, deviceStateLength, recordCount (u64 each; 72 bytes) |
/// |    6 | `acknowledgement` | zero             | zero               | identity; nothing more (40 bytes)                 |
/// |    7 | `refusal`         | code             | text length        | identity; UTF-8 text of at most 1,024 bytes       |
///
/// A `pages` entry is the page's byte offset in its RAM block (a multiple of 4,096) with flags in the lowest 12 bits: bit 0
/// says that the page is zero and carries no bytes; the other bits are zero. The raw pages follow in the entries' order.
///
/// The primary sends `hello` first, then epochs: `epochBegin`, any number of `pages` and `deviceState` messages,
/// `epochEnd`. The backup answers `hello` with `hello`, and each epoch with `acknowledgement` or `refusal`.
public enum WireFormat {
    /// The version of this format; both sides must speak the same one.
    public static let protocolVersion: UInt32 = 1
    /// Bytes of a guest page.
    public static let pageSize = 4096
    /// The largest plaintext of one record in bytes.
    public static let maximumRecordLength = 65536
    /// The largest number of raw pages that fit one `pages` message beside their entries.
    public static let maximumRawPagesPerRecord = 15
    /// The largest device state in bytes.
    public static let maximumDeviceStateLength = 1 << 30
    /// The largest text of a refusal in bytes of UTF-8.
    public static let maximumRefusalTextLength = 1024

    static let headerLength = 16
    static let identityLength = 24
    static let zeroPageFlag: UInt64 = 1

    /// The type of a message, its first byte.
    public enum Kind: UInt8, Sendable {
        case hello = 1
        case epochBegin = 2
        case pages = 3
        case deviceState = 4
        case epochEnd = 5
        case acknowledgement = 6
        case refusal = 7
    }
}
