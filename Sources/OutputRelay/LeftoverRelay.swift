/// The gate that a dead daemon left on a guest's tap.
public struct LeftoverRelay: Sendable, Equatable {
    /// The guest's tap.
    public let tap: String
    /// What the dead daemon's `OutputRelay.prepare` was told.
    public let identity: String
    /// Whether the guest's frames are held back. A daemon that dies before its first epoch leaves an open gate, which is harmless.
    public let isClosed: Bool
    /// Whether the daemon that made it still lives (its IN tap exists): then it is no leftover and neither removed nor adopted.
    public let isInUse: Bool

    /// The gate on `tap`; nil when there is none. Recognised by the names of its programs.
    /// - Throws: `noSuchInterface`, `permission`, `kernel`.
    public static func find(tap: String) throws(OutputRelayError) -> LeftoverRelay? { try find(on: NetworkInterface.named(tap)) }

    /// All gates in this network namespace.
    /// - Throws: `permission`, `kernel`.
    public static func findAll() throws(OutputRelayError) -> [LeftoverRelay] {
        var leftovers: [LeftoverRelay] = []
        for interface in try NetworkInterface.all() where interface.kind == .tap {
            if let leftover = try find(on: interface) { leftovers.append(leftover) }
        }
        return leftovers
    }

    /// Removes the gate on `tap`, which **opens** it: only after the arbiter has said that nobody else is active, or with the guest gone.
    /// No gate is no error.
    /// - Throws: `noSuchInterface`, `gateInUse`, `permission`, `kernel`.
    public static func remove(tap: String) throws(OutputRelayError) {
        let interface = try NetworkInterface.named(tap)
        guard try NetworkInterface.find(RelayTaps.inputName(interface.index)) == nil else {
            throw OutputRelayError(.gateInUse, "a living daemon holds the output of \(tap): unprotect the guest there, or stop that daemon")
        }
        for gate in try AttachedClassifier.find(Classifier.gateName, on: interface.index, .ingress) {
            try BPF.detach(gate.program, from: interface.index, .ingress)
        }
    }

    /// Removes the gates on all these taps, as `remove(tap:)`. A tap that is gone took its gate with it. Every tap is tried; the first
    /// error is thrown at the end.
    /// - Throws: `gateInUse`, `permission`, `kernel`.
    public static func remove(taps: [String]) throws(OutputRelayError) {
        var first: OutputRelayError?
        for tap in taps {
            do throws(OutputRelayError) {
                try remove(tap: tap)
            } catch {
                if error.code != .noSuchInterface { first = first ?? error }
            }
        }
        if let first { throw first }
    }

    /// Whether the gate of one of these taps is closed; a tap that is gone holds nothing.
    /// - Throws: `permission`, `kernel`.
    public static func isAnyClosed(taps: [String]) throws(OutputRelayError) -> Bool {
        for tap in taps {
            guard let interface = try NetworkInterface.find(tap) else { continue }
            if try find(on: interface)?.isClosed == true { return true }
        }
        return false
    }

    /// Takes the gate on `tap` over: new taps, and new classifiers in place of the old ones, without ever opening it. The relay returned is
    /// closed and holds nothing.
    /// - Throws: as `OutputRelay.prepare`, and `illegalTransition` when there is no closed gate.
    public static func adopt(
        tap: String, identity: String, configuration: OutputRelay.Configuration = OutputRelay.Configuration()
    ) throws(OutputRelayError) -> OutputRelay {
        try OutputRelay(tap: tap, identity: identity, configuration, adopting: true)
    }

    private static func find(on interface: NetworkInterface) throws(OutputRelayError) -> LeftoverRelay? {
        let gates = try AttachedClassifier.find(Classifier.gateName, on: interface.index, .ingress)
        guard let gate = gates.first(where: { $0.map.state != .open }) ?? gates.first else { return nil }
        return LeftoverRelay(
            tap: interface.name, identity: gate.map.identity, isClosed: gate.map.state != .open,
            isInUse: try NetworkInterface.find(RelayTaps.inputName(interface.index)) != nil)
    }
}
