/// What `understudy switchover` asks for.
public struct SwitchoverRequest: Codable, Sendable, Equatable {
    public var name: String
    /// Seconds after which the guest goes on where it is, as far as the arbiter allows; 0.1 to 3600.
    public var timeoutSeconds: Double
    /// A machine that runs here without a backup is protected by the other host first.
    public var back: Bool
    /// Afterwards the machine is protected again, in the other direction: the answer waits for that.
    public var protectBack: Bool

    public init(name: String, timeoutSeconds: Double = 5, back: Bool = false, protectBack: Bool = false) {
        self.name = name
        self.timeoutSeconds = timeoutSeconds
        self.back = back
        self.protectBack = protectBack
    }
}

/// A switchover that came about.
public struct SwitchoverReport: Codable, Sendable, Equatable {
    public var name: String
    /// The host that ran the guest, and the one that runs it now.
    public var from: String
    public var to: String
    /// The last epoch of the old host; the guest went on from it.
    public var epoch: UInt64
    /// The arbiter's generation in which the guest runs now.
    public var generation: UInt64
    /// From the guest's stop to the word that it runs again, milliseconds on the old host's clock.
    public var gapMilliseconds: Double
    /// Whether the old host backs the machine up now.
    public var protected: Bool

    public init(
        name: String, from: String, to: String, epoch: UInt64, generation: UInt64, gapMilliseconds: Double, protected: Bool = false
    ) {
        self.name = name
        self.from = from
        self.to = to
        self.epoch = epoch
        self.generation = generation
        self.gapMilliseconds = gapMilliseconds
        self.protected = protected
    }
}
