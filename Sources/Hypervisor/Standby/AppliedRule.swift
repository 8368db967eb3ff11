/// One change that the derivation of a standby's command line made to the primary's, for the operator to read.
public struct AppliedRule: Codable, Sendable, Equatable, CustomStringConvertible {
    /// The option with its dash, for instance `-netdev`.
    public var option: String
    /// The primary's argument; empty when the option was added.
    public var from: String
    /// The standby's argument; nil when the option was dropped.
    public var to: String?
    /// Why, in one sentence.
    public var why: String

    public init(option: String, from: String, to: String?, why: String) {
        self.option = option
        self.from = from
        self.to = to
        self.why = why
    }

    public var description: String {
        let before = from.isEmpty ? option : "\(option) \(from)"
        guard let to else { return "\(before): dropped, \(why)" }
        if from.isEmpty { return "\(to.isEmpty ? option : "\(option) \(to)"): added, \(why)" }
        return "\(before) -> \(to), \(why)"
    }
}
