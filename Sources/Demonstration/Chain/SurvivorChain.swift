/// The whole log of the guest that is running now: what the verdict takes as the truth.
public struct SurvivorChain: Sendable {
    /// The digest before the first record: zero unless the guest's ring has dropped its oldest records.
    public var base: Digest
    /// The records in counter order.
    public var records: [ChainRecord]
    /// The digest after the last record, as the guest says it.
    public var head: Digest

    public init(base: Digest = .zero, records: [ChainRecord], head: Digest) {
        self.base = base
        self.records = records
        self.head = head
    }
}
