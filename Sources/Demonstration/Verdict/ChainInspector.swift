/// Recomputes the survivor's hash chain once and looks replies up in it.
struct ChainInspector {
    /// Breaks inside the chain: counters that do not follow each other, or a head that does not follow from the records.
    let chainBreaks: Int
    private let records: [ChainRecord]
    private let digests: [Digest]

    init(_ chain: SurvivorChain) {
        var digest = chain.base
        var breaks = 0
        var digests = [Digest]()
        digests.reserveCapacity(chain.records.count)
        for (index, record) in chain.records.enumerated() {
            if index > 0, record.counter != chain.records[index - 1].counter &+ 1 { breaks += 1 }
            digest = record.digest(after: digest)
            digests.append(digest)
        }
        if digest != chain.head { breaks += 1 }
        if chain.base == .zero, let first = chain.records.first, first.counter != 1 { breaks += 1 }
        chainBreaks = breaks
        records = chain.records
        self.digests = digests
    }

    /// Counts the replies of one client that the chain does not contain exactly so, and those whose counter went back.
    func violations(of client: ClientRecord) -> Int {
        var count = client.foreignReplies
        var highest: UInt64 = 0
        for reply in client.replies {
            if !contains(reply, of: client.client) || reply.counter < highest { count += 1 }
            highest = max(highest, reply.counter)
        }
        return count
    }

    private func contains(_ reply: ReceivedReply, of client: UInt64) -> Bool {
        guard let first = records.first, reply.counter >= first.counter, reply.counter - first.counter < UInt64(records.count)
        else { return false }
        let index = Int(reply.counter - first.counter)
        let expected = ChainRecord(counter: reply.counter, client: client, request: reply.request, random: reply.random)
        return records[index] == expected && digests[index] == reply.digest
    }
}
