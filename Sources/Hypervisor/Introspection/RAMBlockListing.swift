/// One line of `info ramblock`.
struct RAMBlockListing: Equatable {
    var name: String
    var usedLength: UInt64
    var totalLength: UInt64
    /// Printed by QEMU 8 and later.
    var hostAddress: UInt64?

    /// No process has more address space than this, in bytes: a larger number is no length.
    private static let longest: UInt64 = 1 << 57

    /// Reads the whole table. Throws when a line has an unknown form, so that no block is ever passed over.
    static func parse(_ text: String) throws(HypervisorError) -> [RAMBlockListing] {
        let lines = text.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace) }.filter { !$0.isEmpty }
        guard let header = lines.first, header.prefix(2) == ["Block", "Name"] else {
            throw HypervisorError(.unknownAnswer, "QEMU's answer to 'info ramblock' has no known head")
        }
        let hasAddress = header.contains("HVA")
        var listings: [RAMBlockListing] = []
        for fields in lines.dropFirst() { listings.append(try parse(fields, hasAddress: hasAddress)) }
        guard !listings.isEmpty else { throw HypervisorError(.unknownAnswer, "QEMU lists no RAM block") }
        guard Set(listings.map(\.name)).count == listings.count else {
            throw HypervisorError(.ramBlockAmbiguous, "two RAM blocks of QEMU have the same name")
        }
        return listings
    }

    /// Columns: name, page size and its unit, offset, used, total, and from QEMU 8 on address and protection. The name may hold spaces.
    private static func parse(_ fields: [Substring], hasAddress: Bool) throws(HypervisorError) -> RAMBlockListing {
        let columns = hasAddress ? 7 : 5
        let numbers = fields.suffix(columns).dropFirst(2).prefix(hasAddress ? 4 : 3).map { hexadecimal($0) }
        guard fields.count > columns, numbers.count == (hasAddress ? 4 : 3), let used = numbers[1], let total = numbers[2], used <= total,
            total <= longest
        else { throw HypervisorError(.unknownAnswer, "a line of 'info ramblock' has an unknown form: \(fields.joined(separator: " "))") }
        let name = fields.dropLast(columns).joined(separator: " ")
        guard hasAddress else { return RAMBlockListing(name: name, usedLength: used, totalLength: total) }
        guard let address = numbers[3], address != 0 else {
            throw HypervisorError(.unknownAnswer, "'info ramblock' gives no address for \(name)")
        }
        return RAMBlockListing(name: name, usedLength: used, totalLength: total, hostAddress: address)
    }

    static func hexadecimal(_ text: some StringProtocol) -> UInt64? {
        text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : nil
    }
}
