internal import HostAPI
internal import Links
internal import Packing
internal import UnderstudyCore

/// Packs messages, when that is wished or pays, and seals them.
///
/// Owned by the thread that sends.
final class RecordSender {
    /// What became of messages, since the beginning.
    struct Counts: Sendable {
        var plain: UInt64 = 0
        var lz4: UInt64 = 0
        var zstd: UInt64 = 0
    }

    let stream: SealedStream
    private let packer: RecordPacker
    private(set) var counts = Counts()
    private(set) var chooser = CodecChooser()
    private var mode = CompressionMode.auto
    private var epochs: UInt64 = 0
    private var isSampled = false
    private var sealing: UInt64 = 0
    private var sentBefore: UInt64 = 0

    /// One message of so many epochs is packed by the methods that are not in use, to know what they would do.
    private static let sampleInterval: UInt64 = 16
    /// Messages below this are sent as they are.
    private static let leastLength = 512
    /// Bytes from which a message is good for a sample.
    private static let sampleLength = 8192

    init(stream: SealedStream) throws(HostDaemonError) {
        self.stream = stream
        do throws(PackingError) { packer = try RecordPacker() } catch {
            throw HostDaemonError(.system, error.message, cause: error)
        }
    }

    func begin(_ mode: CompressionMode) {
        self.mode = mode
        isSampled = mode != .auto || epochs % Self.sampleInterval != 0
        epochs += 1
        sealing = 0
        sentBefore = stream.writer.bytesSent
    }

    /// Seals one message.
    func write(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, deadline: ContinuousClock.Instant) throws(LinkError) {
        let length = pieces.reduce(0) { $0 + $1.count }
        guard mode != .off, mode != .delta, length >= Self.leastLength, let head = pieces.first else { return try seal(pieces, deadline) }
        let content = WireFormat.content(of: head)
        if !isSampled, length >= Self.sampleLength {
            isSampled = true
            for method in [PackedRecord.Method.lz4, .zstd] { _ = pack(pieces, length, content, method) }
        }
        guard let method = method(for: content), let record = pack(pieces, length, content, method) else {
            return try seal(pieces, deadline)
        }
        if method == .lz4 { counts.lz4 += 1 } else { counts.zstd += 1 }
        try withUnsafePointer(to: record) { piece throws(LinkError) in
            try sealOnly(UnsafeBufferPointer(start: piece, count: 1), deadline)
        }
    }

    /// Hands what is left to the kernel; the epoch is over.
    func flush(deadline: ContinuousClock.Instant) throws(LinkError) {
        let begun = MonotonicClock.now
        try stream.writer.flush(deadline: deadline)
        sealing += MonotonicClock.now - begun
        chooser.sent(
            bytes: Int(stream.writer.bytesSent - sentBefore), nanoseconds: sealing, linkBytesPerSecond: stream.deliveryRate)
    }

    private func method(for content: CodecChooser.Content) -> PackedRecord.Method? {
        switch mode {
        case .lz4: .lz4
        case .zstd: .zstd
        case .auto: chooser.choose(content)
        case .off, .delta: nil
        }
    }

    private func pack(
        _ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ length: Int, _ content: CodecChooser.Content,
        _ method: PackedRecord.Method
    ) -> UnsafeRawBufferPointer? {
        let begun = MonotonicClock.now
        let record = packer.pack(pieces, by: method)
        chooser.packed(
            content, by: method, bytes: length, to: record?.count ?? length, nanoseconds: MonotonicClock.now - begun)
        return record
    }

    private func seal(_ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ deadline: ContinuousClock.Instant) throws(LinkError) {
        counts.plain += 1
        try sealOnly(pieces, deadline)
    }

    private func sealOnly(
        _ pieces: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ deadline: ContinuousClock.Instant
    ) throws(LinkError) {
        let begun = MonotonicClock.now
        try stream.writer.write(pieces, deadline: deadline)
        sealing += MonotonicClock.now - begun
    }
}
