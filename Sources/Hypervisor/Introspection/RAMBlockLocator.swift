import UnderstudyCore

/// Finds the host address of every RAM block of a QEMU that does not print it (before version 8).
///
/// Three sources, the surest first: QEMU's own translation of guest addresses; the process's memory map, by exact length; the content
/// of the places that remain, for the blocks whose content has a known beginning. Every block must be found, and never by a guess.
struct RAMBlockLocator {
    var listings: [RAMBlockListing]
    var sections: [MappedSection]
    var map: MemoryMap
    /// QEMU's translation: the host address of a guest address and the name of the memory region there.
    var translate: (UInt64) throws(HypervisorError) -> (address: UInt64, region: String)?
    /// Reads the process's memory.
    var read: (_ address: UInt64, _ length: Int) throws(HypervisorError) -> [UInt8]

    func locate() throws(HypervisorError) -> [RAMBlock] {
        var found: [String: UInt64] = [:]
        for listing in listings {
            if let address = listing.hostAddress {
                found[listing.name] = address
            } else if let address = try translated(listing) {
                found[listing.name] = address
            }
        }
        try placeByMap(&found)
        return try listings.map { (listing) throws(HypervisorError) in
            guard let address = found[listing.name] else {
                throw HypervisorError(.ramBlockNotFound, "the RAM block \(listing.name) was not found; QEMU 8 or later tells where it is")
            }
            guard map.covers(address, listing.usedLength) else {
                throw HypervisorError(.ramBlockNotFound, "the RAM block \(listing.name) is not mapped where QEMU says it is")
            }
            return RAMBlock(name: listing.name, usedLength: listing.usedLength, totalLength: listing.totalLength, hostAddress: address)
        }
    }

    /// By the guest address of a section that can belong to no other block.
    private func translated(_ listing: RAMBlockListing) throws(HypervisorError) -> UInt64? {
        for section in sections where section.belongs(to: listing.name) {
            guard listings.count(where: { section.belongs(to: $0.name) }) == 1 else { continue }
            guard let (address, region) = try translate(section.guestAddress), region == section.region, address > section.offset else {
                continue
            }
            let start = address - section.offset
            // The map may have changed between the two looks: only an address that is plausible counts.
            if map.covers(start, listing.usedLength) { return start }
        }
        return nil
    }

    private func placeByMap(_ found: inout [String: UInt64]) throws(HypervisorError) {
        var open: [String: [UInt64]] = [:]
        for listing in listings where found[listing.name] == nil {
            open[listing.name] = map.candidates(length: Self.pageAligned(listing.totalLength))
        }
        while !open.isEmpty {
            for name in open.keys { open[name]?.removeAll { found.values.contains($0) } }
            if let (name, places) = open.first(where: { $0.value.count <= 1 }) {
                guard let place = places.first else {
                    throw HypervisorError(.ramBlockNotFound, "the RAM block \(name) was not found in QEMU's memory map")
                }
                found[name] = place
                open[name] = nil
            } else {
                try narrowByContent(&open, &found)
            }
        }
    }

    /// Strikes places whose content cannot be the block's; throws when that strikes none.
    private func narrowByContent(_ open: inout [String: [UInt64]], _ found: inout [String: UInt64]) throws(HypervisorError) {
        var hasChanged = false
        for (name, places) in open {
            guard let sign = ContentSign(block: name) else { continue }
            var fitting: [UInt64] = []
            for place in places where sign.fits(try read(place, 16)) { fitting.append(place) }
            hasChanged = hasChanged || fitting.count < places.count
            open[name] = fitting
        }
        if hasChanged { return }
        if try assignTwins(&open, &found) { return }
        let names = open.keys.sorted().joined(separator: ", ")
        throw HypervisorError(
            .ramBlockAmbiguous,
            "the RAM blocks \(names) have the same length and cannot be told apart; QEMU 8 or later tells where they are")
    }

    /// ROMs of equal content that the guest cannot change are interchangeable: which of the copies is whose makes no difference.
    private func assignTwins(_ open: inout [String: [UInt64]], _ found: inout [String: UInt64]) throws(HypervisorError) -> Bool {
        for (name, places) in open where name.hasSuffix(".rom") && places.count > 1 {
            let twins = open.filter { $0.value.sorted() == places.sorted() && $0.key.hasSuffix(".rom") }.keys.sorted()
            guard twins.count == places.count, let length = listings.first(where: { $0.name == name })?.usedLength else { continue }
            let contents = try places.map { (place) throws(HypervisorError) in try read(place, Int(length)) }
            guard contents.allSatisfy({ $0 == contents[0] }) else { continue }
            for (twin, place) in zip(twins, places.sorted(by: >)) {
                found[twin] = place
                open[twin] = nil
            }
            return true
        }
        return false
    }

    private static func pageAligned(_ length: UInt64) -> UInt64 { (length + 4095) & ~4095 }
}

/// How the content of a RAM block of a known kind begins.
struct ContentSign {
    private enum Kind { case optionROM, table, loader, rootPointer }
    private let kind: Kind

    /// Nil for a block whose content may be anything.
    init?(block name: String) {
        if name.hasPrefix("/rom@etc/acpi/tables") || name == "etc/acpi/tables" {
            kind = .table
        } else if name.hasSuffix("etc/table-loader") {
            kind = .loader
        } else if name.hasSuffix("etc/acpi/rsdp") {
            kind = .rootPointer
        } else if name.hasSuffix(".rom") && name != "pc.rom" {
            kind = .optionROM
        } else {
            return nil
        }
    }

    func fits(_ bytes: [UInt8]) -> Bool {
        switch kind {
        case .optionROM: bytes.starts(with: [0x55, 0xAA])
        case .table: bytes.starts(with: "FACS".utf8) || bytes.starts(with: "DSDT".utf8)
        // A command number of 1 to 5 in four bytes, then a file name (QEMU hw/acpi/bios-linker-loader.c).
        case .loader:
            bytes.count > 8 && (1...5).contains(bytes[0]) && bytes[1..<4].allSatisfy { $0 == 0 } && bytes[4..<8].elementsEqual("etc/".utf8)
        case .rootPointer: bytes.starts(with: "RSD PTR ".utf8)
        }
    }
}
