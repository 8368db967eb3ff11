public import UnderstudyCore

/// The output gate of one network card, wherever the host's end of the card is.
///
/// The order of calls is that of `GuestOutput`. A step that adds a promise fails without effect; see the two kinds for what each one throws.
public protocol CardGate: AnyObject, Sendable {
    /// What the host's end of the card is called: the name of a tap, or `netdev:ID`.
    var port: String { get }
    /// What it is: `tap`, or QEMU's word for a netdev.
    var kind: String { get }
    /// Whether frames pass again after the gate was closed.
    var isOpen: Bool { get }

    /// The last preparation, right before the first cut: takes what QEMU has to be asked for while it still answers.
    func arm() throws(OutputRelayError)
    /// Closes the gate. Call it while the guest is stopped, at the first epoch's cut.
    func insert() throws(OutputRelayError)
    /// Looks whether the gate still holds what it should.
    func verify() throws(OutputRelayError)
    /// Ends an epoch: everything that the guest sent so far belongs to it. Call it while the guest is stopped.
    func seal(epoch: UInt64) throws(OutputRelayError) -> SealedOutput
    /// Takes the tag back from the newest sealed epoch.
    func withdrawSeal(epoch: UInt64) throws(OutputRelayError)
    /// Lets all frames of epochs up to and including `epoch` leave, in order.
    func release(through epoch: UInt64) throws(OutputRelayError) -> ReleasedOutput
    /// Lets everything held leave in order, and then whatever comes.
    @discardableResult
    func open() throws(OutputRelayError) -> ReleasedOutput
    /// Takes an open gate, or one that was never closed, away.
    func remove() throws(OutputRelayError)
    /// Drops everything held; a closed gate stays closed. Idempotent.
    func abandon()
    /// What the gate holds and did.
    func statistics() throws(OutputRelayError) -> OutputRelayStatistics
}

extension OutputRelay: CardGate {
    public var port: String { tap }
    public var kind: String { "tap" }

    /// Nothing: the kernel is asked for nothing at the cut.
    public func arm() throws(OutputRelayError) {}
}
