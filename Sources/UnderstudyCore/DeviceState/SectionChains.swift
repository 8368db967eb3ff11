/// Every way to read a device state as a chain of sections from its header to its end.
///
/// Payloads hold bytes that the guest chose, so some of the boundaries may be false ones. A node is a place where a section may
/// begin; its successors are the boundaries after its payload's start that repeat its id and from which the end can be reached.
/// The work grows with the number of boundaries, not with the number of chains.
struct SectionChains {
    /// How many readings are followed at once before the bytes count as ambiguous.
    private static let maximumReadings = 64

    private let state: UnsafeRawBufferPointer
    private let first: SectionHeader
    /// By section id, boundaries from which the end can be reached, last one first.
    private var reaching: [UInt32: [SectionBoundary]] = [:]

    init(in state: UnsafeRawBufferPointer, first: SectionHeader) {
        self.state = state
        self.first = first
        for boundary in SectionBoundary.all(in: state, from: first.payload).reversed() where reachesEnd(boundary) {
            reaching[boundary.id, default: []].append(boundary)
        }
    }

    /// The one list of sections that all chains agree on.
    func onlyList() throws(DeviceStateError) -> [DeviceSection] {
        var sections: [DeviceSection] = []
        var readings = [first]
        while let reading = readings.first {
            guard readings.allSatisfy({ $0.section == reading.section }) else { throw ambiguous(after: sections) }
            let boundaries = try successors(of: readings, after: sections)
            guard !boundaries.isEmpty else {
                throw DeviceStateError(
                    .malformed, "no end is found for the state of \(reading.section); the bytes are damaged or cut short")
            }
            sections.append(reading.section)
            readings = boundaries.compactMap { SectionHeader(in: state, at: $0.next) }
            guard readings.isEmpty || readings.count == boundaries.count else { throw ambiguous(after: sections) }
        }
        return sections
    }

    private func reachesEnd(_ boundary: SectionBoundary) -> Bool {
        guard let header = SectionHeader(in: state, at: boundary.next) else { return boundary.next == state.count - 1 }
        // The farthest boundary comes first: if that one lies before the payload, all do.
        return reaching[header.id]?.first.map { $0.footer >= header.payload } ?? false
    }

    private func successors(of readings: [SectionHeader], after sections: [DeviceSection]) throws(DeviceStateError) -> [SectionBoundary] {
        var boundaries: [SectionBoundary] = []
        for reading in readings {
            for boundary in reaching[reading.id] ?? [] {
                if boundary.footer < reading.payload { break }
                if boundaries.contains(where: { $0.footer == boundary.footer }) { continue }
                guard boundaries.count < Self.maximumReadings else { throw ambiguous(after: sections) }
                boundaries.append(boundary)
            }
        }
        return boundaries
    }

    private func ambiguous(after sections: [DeviceSection]) -> DeviceStateError {
        let place = sections.last.map { "after \($0)" } ?? "at the beginning"
        return DeviceStateError(.ambiguous, "the device state can be read in two ways \(place); take another checkpoint")
    }
}
