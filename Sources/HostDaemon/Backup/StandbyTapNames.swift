/// Which interfaces of this host the taps of one standby get: the configured names, else the primary's, else ones made of them.
struct StandbyTapNames {
    /// The standby's interfaces by the primary's.
    private(set) var chosen: [String: String] = [:]

    /// Chooses a name that no other card of this standby has and that `isTaken` denies; nil when a hundred are taken.
    ///
    /// - Parameter isTaken: whether the name belongs to an interface that must not be touched. Asked only about names that are new here, so it
    ///   may clear away what an earlier standby left.
    mutating func choose<Failure: Error>(
        for primary: String, configured: String?, isTaken: (String) throws(Failure) -> Bool
    ) throws(Failure) -> String? {
        let wanted = configured ?? primary
        for number in 0...100 {
            let name = Self.candidate(number, wanted)
            guard !chosen.values.contains(name) else { continue }
            if try isTaken(name) { continue }
            chosen[primary] = name
            return name
        }
        return nil
    }

    /// `tap0`, `us-tap0`, `us-tap0-2`, `us-tap0-3`, ...: at most the 15 bytes that an interface's name may have.
    private static func candidate(_ number: Int, _ wanted: String) -> String {
        guard number > 0 else { return wanted }
        let suffix = number == 1 ? "" : "-\(number)"
        return "us-" + String(decoding: wanted.utf8.prefix(12 - suffix.utf8.count), as: UTF8.self) + suffix
    }
}
