/// Says whether compressing a message pays on this link and this content, from what was measured.
///
/// Per byte of message a method costs the processor's time for packing it, and the wire's time for what is left of it. Wire and sealing
/// overlap, so the slower of the two counts. Pure: times are passed in.
public struct CodecChooser: Sendable {
    /// What a message mostly carries: contents that compress differently.
    public enum Content: Int, Sendable, CaseIterable {
        case wholePages
        /// Deltas of pages or devices, and lists of zero pages.
        case deltas

        /// - Parameter bytesPerEntry: bytes of content for each page that the message names.
        public init(bytesPerEntry: Int) { self = bytesPerEntry >= 1024 ? .wholePages : .deltas }
    }

    /// Moving averages of one method on one kind of content.
    public struct Estimate: Sendable, Equatable {
        /// Nanoseconds of packing per byte of message.
        public var cost: Double
        /// Bytes after packing per byte before.
        public var ratio: Double
    }

    /// Nanoseconds that a byte takes through sealing and the kernel.
    public private(set) var sealing = 1.0
    /// Nanoseconds that a byte takes on the wire; 0 before anything is known.
    public private(set) var wire = 0.0
    private var lz4: [Estimate?]
    private var zstd: [Estimate?]
    private var chosen: [PackedRecord.Method?]

    /// A new value's part in an average.
    private static let weight = 1.0 / 8
    /// A method takes the place of another one only when it is so much better: without it equals would change places for ever.
    private static let advantage = 0.9

    public init() {
        lz4 = Content.allCases.map { _ in nil }
        zstd = lz4
        chosen = lz4.map { _ in nil }
    }

    /// One message was packed, in earnest or as a sample.
    ///
    /// - Parameters:
    ///   - bytes: of the message, more than 0.
    ///   - packed: what it came to; `bytes` when it did not become smaller.
    public mutating func packed(_ content: Content, by method: PackedRecord.Method, bytes: Int, to packed: Int, nanoseconds: UInt64) {
        let new = Estimate(cost: Double(nanoseconds) / Double(bytes), ratio: Double(packed) / Double(bytes))
        var average = estimate(content, method) ?? new
        average.cost += (new.cost - average.cost) * Self.weight
        average.ratio += (new.ratio - average.ratio) * Self.weight
        switch method {
        case .lz4: lz4[content.rawValue] = average
        case .zstd: zstd[content.rawValue] = average
        }
    }

    /// An epoch went out.
    ///
    /// - Parameters:
    ///   - bytes: on the wire.
    ///   - nanoseconds: spent in sealing them and handing them to the kernel; of a short epoch that says nothing of the cost of a byte.
    ///   - linkBytesPerSecond: what the kernel says that the connection carries; nil when it does not know.
    public mutating func sent(bytes: Int, nanoseconds: UInt64, linkBytesPerSecond: UInt64?) {
        if bytes >= 32_768 { sealing += (Double(nanoseconds) / Double(bytes) - sealing) * Self.weight }
        guard let rate = linkBytesPerSecond, rate > 0 else { return }
        let new = 1e9 / Double(rate)
        wire = wire == 0 ? new : wire + (new - wire) * Self.weight
    }

    /// How a message with this content is packed now; nil: not at all.
    public mutating func choose(_ content: Content) -> PackedRecord.Method? {
        let present = chosen[content.rawValue]
        var (best, least) = (present, time(content, present) ?? .infinity)
        for method in [nil, .lz4, .zstd] as [PackedRecord.Method?] where method != present {
            guard let time = time(content, method), time < least * Self.advantage else { continue }
            (best, least) = (method, time)
        }
        chosen[content.rawValue] = best
        return best
    }

    /// What is known of a method; nil before its first message.
    public func estimate(_ content: Content, _ method: PackedRecord.Method) -> Estimate? {
        switch method {
        case .lz4: lz4[content.rawValue]
        case .zstd: zstd[content.rawValue]
        }
    }

    /// Nanoseconds per byte of message.
    private func time(_ content: Content, _ method: PackedRecord.Method?) -> Double? {
        let perByte = max(wire, sealing)
        guard let method else { return perByte }
        return estimate(content, method).map { $0.cost + $0.ratio * perByte }
    }
}
