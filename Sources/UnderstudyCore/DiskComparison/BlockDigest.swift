// SPDX-License-Identifier: Apache-2.0

/// The checksum of one block of a disk: 16 bytes, made with a key that nobody but the two daemons knows.
public struct BlockDigest: Sendable, Equatable {
    public static let byteCount = 16

    public var low: UInt64
    public var high: UInt64

    public init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    /// Reads the first 16 bytes, little-endian.
    init(_ bytes: UnsafeRawBufferPointer) {
        low = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        high = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
}
