/// One reply as a client saw it.
public struct ReceivedReply: Hashable, Sendable {
    public var request: UInt64
    public var counter: UInt64
    public var random: GuestRandom
    public var digest: Digest
    /// `MonotonicTime` nanoseconds.
    public var receivedAt: UInt64

    public init(request: UInt64, counter: UInt64, random: GuestRandom, digest: Digest, receivedAt: UInt64) {
        self.request = request
        self.counter = counter
        self.random = random
        self.digest = digest
        self.receivedAt = receivedAt
    }
}
