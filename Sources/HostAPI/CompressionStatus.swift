/// How the checkpoint stream is compressed.
public enum CompressionMode: String, Codable, Sendable, CaseIterable {
    /// Deltas, and packing where that is faster on this link.
    case auto
    /// Zero pages are named, any other page goes whole: no memory and least processor time.
    case off
    /// Pages that did not change are left out, of others what changed is sent.
    case delta
    /// Deltas, and every message packed by LZ4.
    case lz4
    /// Deltas, and every message packed by zstd.
    case zstd
}

/// What compression does for a machine, since its protection began; the first copy of its memory included.
public struct CompressionStatus: Codable, Sendable, Equatable {
    public var mode: CompressionMode
    /// Bytes of pages that the guest changed, and of device states.
    public var dirtyBytes: UInt64 = 0
    /// Bytes that went to the link for them, with everything around.
    public var wireBytes: UInt64 = 0
    /// Pages that had the same content as when they were sent last, and were not sent.
    public var unchangedPages: UInt64 = 0
    public var zeroPages: UInt64 = 0
    public var deltaPages: UInt64 = 0
    /// Pages that were sent whole.
    public var wholePages: UInt64 = 0
    /// Messages that were not packed, packed by LZ4, packed by zstd.
    public var plainRecords: UInt64 = 0
    public var lz4Records: UInt64 = 0
    public var zstdRecords: UInt64 = 0
    /// Memory on this host that holds pages as they were sent last.
    public var referenceBytes: UInt64 = 0

    public init(mode: CompressionMode) { self.mode = mode }
}

/// What `understudy set` changes of a protected machine.
public struct SetRequest: Codable, Sendable, Equatable {
    public var name: String
    public var compression: CompressionMode

    public init(name: String, compression: CompressionMode) {
        self.name = name
        self.compression = compression
    }
}
