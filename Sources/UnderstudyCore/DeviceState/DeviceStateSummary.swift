/// The devices that a saved device state contains, in the order in which they were saved.
///
/// A standby loads a state only if it has all of these devices: the summary of every epoch must equal that of the rehearsed one.
public struct DeviceStateSummary: Codable, Sendable, Equatable {
    public var sections: [DeviceSection]

    public init(sections: [DeviceSection]) {
        self.sections = sections
    }

    /// What distinguishes this state from the rehearsed one, for a message to the operator; nil when they are equal.
    public func difference(from rehearsed: DeviceStateSummary) -> String? {
        if self == rehearsed { return nil }
        var parts: [String] = []
        let added = Self.surplus(of: sections, over: rehearsed.sections)
        let removed = Self.surplus(of: rehearsed.sections, over: sections)
        if !added.isEmpty { parts.append("new: " + added.map(\.description).joined(separator: ", ")) }
        if !removed.isEmpty { parts.append("missing: " + removed.map(\.description).joined(separator: ", ")) }
        if parts.isEmpty { parts.append("the same devices in another order") }
        return parts.joined(separator: "; ")
    }

    private static func surplus(of sections: [DeviceSection], over others: [DeviceSection]) -> [DeviceSection] {
        var counts: [DeviceSection: Int] = [:]
        for section in others { counts[section, default: 0] += 1 }
        return sections.filter { section in
            let left = counts[section, default: 0]
            counts[section] = left - 1
            return left <= 0
        }
    }
}
