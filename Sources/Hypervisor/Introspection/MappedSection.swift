/// A piece of RAM or ROM that the guest sees at a physical address (a line of `info mtree -f`).
struct MappedSection: Equatable {
    var guestAddress: UInt64
    var region: String
    /// Where in the memory region the piece begins.
    var offset: UInt64

    /// The sections of every flat view that QEMU can translate to host addresses.
    static func parse(_ text: String) -> [MappedSection] {
        text.split(separator: "\n").compactMap { parse(line: $0) }
    }

    /// `  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000 KVM`
    private static func parse(line: Substring) -> MappedSection? {
        guard let open = line.firstIndex(of: "("), let close = line[open...].range(of: "): "),
            let start = line[..<open].drop(while: \.isWhitespace).split(separator: "-").first.flatMap({ UInt64($0, radix: 16) }),
            let kind = line[open..<close.lowerBound].split(separator: " ").last, kind.contains("ram") || kind.contains("rom")
        else { return nil }
        let rest = line[close.upperBound...].split(separator: " ")
        let marker = rest.firstIndex { $0.hasPrefix("@") && $0.count == 17 }
        let nameEnd = marker ?? (rest.last == "KVM" ? rest.endIndex - 1 : rest.endIndex)
        let offset = marker.flatMap { UInt64(rest[$0].dropFirst(), radix: 16) } ?? 0
        return MappedSection(guestAddress: start, region: rest[..<nameEnd].joined(separator: " "), offset: offset)
    }

    /// Whether a RAM block of this name belongs to the region: a device's blocks carry its path before the region's name.
    func belongs(to block: String) -> Bool { block == region || block.hasSuffix("/" + region) }
}

extension Substring {
    /// The first occurrence of `text`. (The standard library has none without Foundation.)
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
