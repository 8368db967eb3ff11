/// What the file beside a disk's copy says of it: whose copy it is, and whether the machine has run on it.
///
/// Two lines: the machine's name, and the state. Its length depends on the name alone, so that one state takes another's place without new
/// room on the disk.
struct CopySignature: Equatable {
    enum State: Equatable {
        /// The disk is another host's; this is its copy.
        case copy
        /// The machine runs on it, in a tenure of this host that began with the arbiter's record of this generation.
        case ran(since: UInt64)
        /// The machine ran on it until its record was removed: no other host has gone on from it.
        case newest
    }

    var machine: String
    var state: State

    private static let longestState = 24

    var text: String {
        let word =
            switch state {
            case .copy: "copy"
            case .ran(let generation): "ran \(generation)"
            case .newest: "newest"
            }
        return "\(machine)\n\(word)\(String(repeating: " ", count: Self.longestState - word.utf8.count))\n"
    }

    init(machine: String, state: State) {
        self.machine = machine
        self.state = state
    }

    /// - Returns: nil for anything but a whole signature.
    init?(text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 3 else { return nil }
        let words = lines[1].split(separator: " ")
        machine = String(lines[0])
        switch (words.first, words.count) {
        case ("copy", 1): state = .copy
        case ("newest", 1): state = .newest
        case ("ran", 2):
            guard let generation = UInt64(words[1]) else { return nil }
            state = .ran(since: generation)
        default: return nil
        }
    }

    /// Whether a machine of this name may overwrite the image unasked.
    ///
    /// - Parameter generation: of the arbiter's record, which names another host as the machine's owner: one that is newer than the tenure here
    ///   has gone on from it.
    func yields(to machine: String, in generation: UInt64) -> Bool {
        guard machine == self.machine else { return false }
        return switch state {
        case .copy: true
        case .ran(let since): generation > since
        case .newest: false
        }
    }
}
