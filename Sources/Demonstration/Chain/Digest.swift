/// A SHA-256 digest: 32 bytes as four big-endian words, so that records hold no heap object per reply.
public struct Digest: Hashable, Sendable {
    public var words: (UInt64, UInt64, UInt64, UInt64)

    public init(_ a: UInt64, _ b: UInt64, _ c: UInt64, _ d: UInt64) { words = (a, b, c, d) }

    /// The chain's start: 32 zero bytes.
    public static let zero = Digest(0, 0, 0, 0)

    public static func == (left: Digest, right: Digest) -> Bool { left.words == right.words }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
    }
}
