public import UnderstudyCore

/// The output of one guest: the gates of all its network cards, moved as one.
///
/// Output commit is a promise about the guest and not about a card, so every step is taken at every card, in the cards' order: all gates
/// close at the same cut, every cut seals all of them, a commit releases all of them, and they open and disappear together. Each card's
/// frames keep their own order; between cards there is none, as on a wire.
///
/// A step that adds a promise (`prepare`, `insert`, `seal`) is undone where it was taken when it fails at a later card. A step that gives
/// one up (`release`, `open`, `remove`) is taken wherever it can be; its first error is thrown at the end, and it may be repeated.
public final class GuestOutput: Sendable {
    /// Where the host's end of a network card is.
    public enum Card: Sendable {
        /// An interface in a bridge.
        case tap(String)
        /// A netdev inside QEMU; called when it is this card's turn, it puts the filter in.
        case filter(@Sendable () throws(OutputRelayError) -> FilterRelay.Connection)
    }

    /// One gate per card, in the cards' order.
    public let relays: [any CardGate]

    private init(_ relays: [any CardGate]) { self.relays = relays }

    /// Prepares a relay at every tap, or at none; see `OutputRelay.prepare`.
    public static func prepare(
        taps: [String], identity: String, configuration: OutputRelay.Configuration = OutputRelay.Configuration()
    ) throws(OutputRelayError) -> GuestOutput {
        try prepare(cards: taps.map { .tap($0) }, identity: identity, configuration: configuration)
    }

    /// Prepares a gate at every card, or at none; see `OutputRelay.prepare` and `FilterRelay`.
    public static func prepare(
        cards: [Card], identity: String, configuration: OutputRelay.Configuration = OutputRelay.Configuration()
    ) throws(OutputRelayError) -> GuestOutput {
        var relays: [any CardGate] = []
        do throws(OutputRelayError) {
            for card in cards {
                switch card {
                case .tap(let tap): relays.append(try OutputRelay.prepare(tap: tap, identity: identity, configuration: configuration))
                case .filter(let attach): relays.append(try FilterRelay(try attach(), configuration: configuration))
                }
            }
        } catch {
            relays.forEach { $0.abandon() }
            throw error
        }
        return GuestOutput(relays)
    }

    /// What the host's ends of the cards are called: taps, and `netdev:ID`.
    public var taps: [String] { relays.map(\.port) }

    /// Makes every gate ready to be closed while QEMU answers nothing. Call it right before the first cut; again it does nothing.
    /// - Throws: `kernel` (QEMU refuses; frames pass on).
    public func arm() throws(OutputRelayError) {
        for relay in relays { try relay.arm() }
    }

    /// Closes every gate, or none. Call it while the guest is stopped, at the first epoch's cut.
    /// - Throws: `illegalTransition`.
    public func insert() throws(OutputRelayError) {
        var closed: [any CardGate] = []
        do throws(OutputRelayError) {
            for relay in relays {
                try relay.insert()
                closed.append(relay)
            }
        } catch {
            for relay in closed { try relay.open() }
            throw error
        }
    }

    /// Asks the kernel whether every gate is still the first classifier of its tap.
    /// - Throws: `gateDisturbed`, `permission`, `kernel`.
    public func verify() throws(OutputRelayError) {
        for relay in relays { try relay.verify() }
    }

    /// Ends an epoch of output at every card, or at none. Call it while the guest is stopped.
    /// - Returns: what was sealed at all cards together.
    /// - Throws: `illegalTransition` (epochs must rise), `kernel` (an IN tap is broken).
    @discardableResult
    public func seal(epoch: UInt64) throws(OutputRelayError) -> SealedOutput {
        var total = SealedOutput(epoch: epoch, frames: 0, bytes: 0, overflowed: false)
        var done: [any CardGate] = []
        do throws(OutputRelayError) {
            for relay in relays {
                let sealed = try relay.seal(epoch: epoch)
                done.append(relay)
                total = SealedOutput(
                    epoch: epoch, frames: total.frames + sealed.frames, bytes: total.bytes + sealed.bytes,
                    overflowed: total.overflowed || sealed.overflowed)
            }
        } catch {
            for relay in done { try relay.withdrawSeal(epoch: epoch) }
            throw error
        }
        return total
    }

    /// Takes the tag back from the newest sealed epoch at every card.
    /// - Throws: `illegalTransition` when `epoch` is not the newest sealed one or is committed already.
    public func withdrawSeal(epoch: UInt64) throws(OutputRelayError) {
        try everywhere { relay throws(OutputRelayError) in try relay.withdrawSeal(epoch: epoch) }
    }

    /// Lets all frames of epochs up to and including `epoch` leave, in order per card.
    /// - Throws: `illegalTransition` when `epoch` was never sealed; `kernel` when an OUT tap is broken (the rest stays held there).
    @discardableResult
    public func release(through epoch: UInt64) throws(OutputRelayError) -> ReleasedOutput {
        var released = ReleasedOutput()
        try everywhere { relay throws(OutputRelayError) in released.add(try relay.release(through: epoch)) }
        return released
    }

    /// Opens every gate that is not open yet. Call it while the guest is stopped and this host is the only active one.
    /// - Throws: `illegalTransition`, `kernel` (the gates that could not be opened stay closed).
    public func open() throws(OutputRelayError) {
        try everywhere { relay throws(OutputRelayError) in if !relay.isOpen { try relay.open() } }
    }

    /// Takes all classifiers and taps away; every gate is open or was never closed.
    /// - Throws: `illegalTransition` while a gate is closed; `kernel`.
    public func remove() throws(OutputRelayError) {
        try everywhere { relay throws(OutputRelayError) in try relay.remove() }
    }

    /// Drops everything held and leaves closed gates closed. Idempotent.
    public func abandon() { relays.forEach { $0.abandon() } }

    /// What each relay holds and did, in the cards' order.
    /// - Throws: `kernel`.
    public func statistics() throws(OutputRelayError) -> [OutputRelayStatistics] {
        try relays.map { relay throws(OutputRelayError) in try relay.statistics() }
    }

    /// Does `step` at every card, whatever happens at another one; the first error counts.
    private func everywhere(_ step: (any CardGate) throws(OutputRelayError) -> Void) throws(OutputRelayError) {
        var first: OutputRelayError?
        for relay in relays {
            do throws(OutputRelayError) { try step(relay) } catch { first = first ?? error }
        }
        if let first { throw first }
    }
}
