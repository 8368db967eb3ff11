/// What `info network` says: network cards and backends, and who is connected to whom.
struct NetworkListing: Equatable {
    struct Entry: Equatable {
        var name: String
        var properties: [String: String]
        /// The entry that this one is shown under.
        var parent: String?
    }

    var entries: [Entry] = []

    /// Lines are ` nic: index=0,type=nic,model=..,macaddr=..` and ` \ n0: index=0,type=tap,ifname=..` for its peer.
    init(parsing text: String) {
        var parent: String?
        for line in text.split(separator: "\n") {
            let trimmed = line.drop { $0 == " " }
            let isPeer = trimmed.hasPrefix("\\ ")
            let content = isPeer ? trimmed.dropFirst(2) : trimmed
            guard let (name, values) = Self.split(content) else { continue }
            var properties: [String: String] = [:]
            var last: String?
            for part in values.split(separator: ",") {
                let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                if pair.count == 2 {
                    properties[String(pair[0])] = String(pair[1])
                    last = String(pair[0])
                } else if let last {
                    properties[last]? += "," + part
                }
            }
            entries.append(Entry(name: name, properties: properties, parent: isPeer ? parent : nil))
            if !isPeer { parent = name }
        }
    }

    /// Splits `name: index=...`; the name may hold a colon.
    private static func split(_ line: Substring) -> (String, Substring)? {
        var start = line.startIndex
        while let colon = line[start...].firstIndex(of: ":") {
            if line[colon...].hasPrefix(": index=") { return (String(line[..<colon]), line[line.index(colon, offsetBy: 2)...]) }
            start = line.index(after: colon)
        }
        return nil
    }

    /// Every card once. A multiqueue card is listed once per queue, under a name of its own each time when the device has no id; all its
    /// queues are connected to queues of one backend, which no other card can be.
    var cards: [NetworkCard] {
        var names: Set<String> = []
        var backends: Set<String> = []
        return entries.filter { $0.properties["type"] == "nic" && names.insert($0.name).inserted }.compactMap { card in
            let peer = entries.first { $0.parent == card.name } ?? entries.first { $0.name == card.parent }
            if let peer, !backends.insert(peer.name).inserted { return nil }
            return NetworkCard(
                name: card.name, model: card.properties["model"] ?? "", macAddress: (card.properties["macaddr"] ?? "").lowercased(),
                backend: peer?.name)
        }
    }

    /// Every backend once, with its queues counted and the properties of its first queue.
    var backends: [(backend: NetworkBackend, properties: [String: String])] {
        var result: [(backend: NetworkBackend, properties: [String: String])] = []
        for entry in entries where entry.properties["type"] != "nic" {
            if let index = result.firstIndex(where: { $0.backend.id == entry.name }) {
                result[index].backend.queues += 1
            } else {
                // Behind the type of a socket stands where it leads, without a key of its own.
                let type = entry.properties["type"].map { String($0.prefix { $0 != "," }) } ?? "unknown"
                result.append((NetworkBackend(id: entry.name, type: type, interface: entry.properties["ifname"]), entry.properties))
            }
        }
        return result
    }
}
