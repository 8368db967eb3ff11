/// One served request as the guest's log keeps it.
public struct ChainRecord: Hashable, Sendable {
    /// Position in the total order of everything the guest ever served, from 1.
    public var counter: UInt64
    public var client: UInt64
    /// The client's own number of the request, from 1.
    public var request: UInt64
    public var random: GuestRandom

    public init(counter: UInt64, client: UInt64, request: UInt64, random: GuestRandom) {
        self.counter = counter
        self.client = client
        self.request = request
        self.random = random
    }

    /// h_n = SHA-256(h_{n-1} || counter || client || request || random), every number a big-endian 64-bit word: 72 bytes.
    public func digest(after previous: Digest) -> Digest {
        let (a, b, c, d) = previous.words
        return SHA256.digest(words: [a, b, c, d, counter, client, request, random.high, random.low])
    }
}
