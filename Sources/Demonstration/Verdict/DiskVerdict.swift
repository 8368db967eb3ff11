/// What the survivor's disk proves.
public struct DiskVerdict: Sendable, Equatable {
    /// Requests of which a client has a reply, and the journal does not hold the record of that reply.
    public var missing: Int
    /// Records of requests that the journal already held.
    public var duplicated: Int
    /// Whether the file system check found nothing.
    public var isClean: Bool

    public init(missing: Int, duplicated: Int, isClean: Bool) {
        self.missing = missing
        self.duplicated = duplicated
        self.isClean = isClean
    }

    public var passed: Bool { missing == 0 && duplicated == 0 && isClean }

    /// Judges a disk by what the clients were told.
    ///
    /// A record is that of a reply when client, request, counter and random are equal: a request that was served again after a lost
    /// write drew another random number.
    static func judge(_ disk: DiskRecord, clients: [ClientRecord]) -> DiskVerdict {
        struct Request: Hashable {
            let client: UInt64
            let number: UInt64
        }
        let held = Set(disk.journal)
        var requests = Set<Request>()
        requests.reserveCapacity(disk.journal.count)
        let duplicated = disk.journal.reduce(0) {
            requests.insert(Request(client: $1.client, number: $1.request)).inserted ? $0 : $0 + 1
        }
        let missing = clients.reduce(0) { count, client in
            let told = Set(
                client.replies.map {
                    ChainRecord(counter: $0.counter, client: client.client, request: $0.request, random: $0.random)
                })
            return count + told.subtracting(held).count
        }
        return DiskVerdict(missing: missing, duplicated: duplicated, isClean: disk.isClean)
    }
}
