import Glibc
import LinuxShim
import Synchronization
public import UnderstudyCore

/// Output commit for one guest whose tap stays in its bridge: holds every frame that the guest sends until its epoch is committed.
///
/// A classifier at the ingress of the guest's tap redirects every frame to the IN tap, where a thread of the relay reads it into a ring.
/// A released frame is written to the OUT tap, whose classifier marks it and hands it to the ingress of the guest's tap again, where the
/// mark lets it pass into the bridge. Frames from the world to the guest never leave the kernel.
///
/// The classifiers belong to the guest's tap, not to this process: when the process dies the gate stays closed.
/// States: *prepared* (frames pass, nothing held) -> *closed* -> *open* -> *removed*, or *abandoned* (closed for ever).
/// Every call but `seal`, `withdrawSeal`, `release` and `statistics` must come from a thread in the network namespace of `prepare`.
/// All calls are thread-safe.
public final class OutputRelay: @unchecked Sendable {
    /// Sizes and mode of a relay.
    public struct Configuration: Sendable {
        /// Room for held frames in bytes; rounded up to whole pages, at least 1 MiB. When it is full the relay stops reading.
        public var ringBytes: Int
        /// Frames that may wait in the kernel for the reader; the kernel drops what comes beyond.
        public var queueLength: UInt32
        /// Forward every frame at once: no output commit. Only for demonstrating what then goes wrong.
        public var openWithoutCommit: Bool
        /// Called when the first frame after a seal is held back, with the newest sealed epoch. By the thread that reads frames: be quick.
        public var onOutput: (@Sendable (UInt64) -> Void)?

        public init(
            ringBytes: Int = 64 << 20, queueLength: UInt32 = 8192, openWithoutCommit: Bool = false,
            onOutput: (@Sendable (UInt64) -> Void)? = nil
        ) {
            self.ringBytes = ringBytes
            self.queueLength = queueLength
            self.openWithoutCommit = openWithoutCommit
            self.onOutput = onOutput
        }
    }

    /// The guest's tap.
    public let tap: String
    let guest: Int32
    let held: HeldOutput
    private let configuration: Configuration
    private let inputName: String
    private let inputIndex: Int32
    private let program: FileDescriptor
    private let programIdentifier: UInt32
    private let reader: Mutex<OutputReader?>
    private let dropped = Atomic<UInt64>(0)

    /// Makes the two taps and attaches the classifiers in their passing state: nothing is redirected yet. Takes 100 to 200 ms
    /// (grace periods of the kernel), so call it while the guest runs.
    /// - Parameters:
    ///   - tap: the guest's tap; a port of a bridge.
    ///   - identity: what `LeftoverRelay` tells a later daemon (the VM's identity); at most 127 bytes of UTF-8 are kept.
    /// - Throws: `noSuchInterface`, `notATap`, `notInBridge`, `xdpAttached`, `gateInUse`, `leftoverGate`, `permission`, `kernel`.
    public static func prepare(
        tap: String, identity: String, configuration: Configuration = Configuration()
    ) throws(OutputRelayError) -> OutputRelay {
        try OutputRelay(tap: tap, identity: identity, configuration, adopting: false)
    }

    /// A prepared relay, or (`adopting`) a closed one in the place of the gate that a dead daemon left.
    init(tap: String, identity: String, _ configuration: Configuration, adopting: Bool) throws(OutputRelayError) {
        let interface = try Self.gateable(tap)
        // The IN tap's name is the lock against another daemon: whatever gate is found from here on has no living owner.
        let taps = try RelayTaps(guest: interface, queueLength: configuration.queueLength)
        let leftovers = try AttachedClassifier.find(Classifier.gateName, on: interface.index, .ingress)
        let closed = leftovers.first { $0.map.state != .open }
        if closed != nil && !adopting { throw Self.leftoverGate(tap) }
        if closed == nil && adopting {
            throw OutputRelayError(.illegalTransition, "there is no closed gate on \(tap) to adopt")
        }
        let gate = try GateMap(state: adopting ? .redirect : .open, target: taps.inputIndex, identity: identity)
        let eventNumber = understudy_relay_event()
        guard eventNumber >= 0 else { throw .kernel("making the relay's event", "eventfd", -eventNumber) }
        let event = FileDescriptor(eventNumber)
        let held = HeldOutput(
            ring: try FrameRing(bytes: configuration.ringBytes), gate: gate, taps: taps, roomEvent: event, onOutput: configuration.onOutput)
        if adopting { try held.close(withoutCommit: configuration.openWithoutCommit) }
        program = try Classifier.gate(gate)
        programIdentifier = try BPF.information(program).identifier
        let reader = try OutputReader(held, input: taps.input, event: event)
        do throws(OutputRelayError) {
            try BPF.attach(program, to: interface.index, .ingress, replacing: closed?.program)
            for leftover in leftovers where leftover.identifier != closed?.identifier {
                try BPF.detach(leftover.program, from: interface.index, .ingress)
            }
        } catch {
            reader.stop()
            throw error
        }
        self.reader = Mutex(reader)
        self.tap = tap
        self.held = held
        self.configuration = configuration
        guest = interface.index
        inputName = RelayTaps.inputName(interface.index)
        inputIndex = taps.inputIndex
    }

    deinit { abandon() }

    /// Whether the tap can be gated now; touches nothing.
    /// - Throws: `noSuchInterface`, `notATap`, `notInBridge`, `xdpAttached`, `gateInUse`, `leftoverGate`, `permission`, `kernel`.
    public static func check(tap: String) throws(OutputRelayError) {
        let interface = try gateable(tap)
        guard let leftover = try LeftoverRelay.find(tap: interface.name) else { return }
        if leftover.isInUse {
            throw OutputRelayError(.gateInUse, "another daemon holds the output of \(tap): unprotect the guest there first")
        }
        if leftover.isClosed { throw leftoverGate(tap) }
    }

    private static func leftoverGate(_ tap: String) -> OutputRelayError {
        OutputRelayError(.leftoverGate, "a dead daemon left the output of \(tap) gated: adopt or remove that gate first")
    }

    private static func gateable(_ tap: String) throws(OutputRelayError) -> NetworkInterface {
        let interface = try NetworkInterface.named(tap)
        guard interface.kind == .tap else {
            throw OutputRelayError(.notATap, "\(tap) is not a tap: give the guest a tap in a bridge (macvtap cannot be gated)")
        }
        guard interface.bridge != nil else {
            throw OutputRelayError(.notInBridge, "\(tap) is not a port of a Linux bridge: put it into one (ip link set \(tap) master ...)")
        }
        guard !interface.hasXDP else {
            throw OutputRelayError(
                .xdpAttached, "an XDP program on \(tap) runs before every gate: detach it (ip link set \(tap) xdp off)")
        }
        return interface
    }

    /// Closes the gate (microseconds). Call it while the guest is stopped, at the first epoch's cut.
    /// - Throws: `illegalTransition`.
    public func insert() throws(OutputRelayError) {
        try held.close(withoutCommit: configuration.openWithoutCommit)
    }

    /// Asks the kernel whether this relay's gate is still the first classifier of the guest's tap. Takes the kernel's network
    /// configuration lock, so not for the time the guest is stopped.
    /// - Throws: `gateDisturbed`, `permission`, `kernel`.
    public func verify() throws(OutputRelayError) {
        let first = try BPF.attached(to: guest, .ingress).first
        guard first == programIdentifier else {
            throw OutputRelayError(
                .gateDisturbed, "the output gate is no longer the first classifier of \(tap): another tool removed it or went before it")
        }
    }

    /// Reads what the guest sent until nothing is left in the kernel and tags everything held since the previous seal with `epoch`.
    /// Call it while the guest is stopped: then the tag is exact.
    /// - Throws: `illegalTransition` (epochs must rise), `kernel` (the IN tap is broken).
    public func seal(epoch: UInt64) throws(OutputRelayError) -> SealedOutput {
        try held.seal(epoch: epoch, limit: 4 * Int(configuration.queueLength) + 4096)
    }

    /// Takes the tag back from the newest sealed epoch, whose checkpoint was aborted: its frames wait for the next seal, which may carry
    /// the same number.
    /// - Throws: `illegalTransition` when `epoch` is not the newest sealed one or is committed already.
    public func withdrawSeal(epoch: UInt64) throws(OutputRelayError) {
        try held.withdrawSeal(epoch: epoch)
    }

    /// Lets all frames tagged with epochs up to and including `epoch` leave, in order. An epoch released before is no error.
    /// - Throws: `illegalTransition` when `epoch` was never sealed; `kernel` when the OUT tap is broken (the rest stays held).
    @discardableResult
    public func release(through epoch: UInt64) throws(OutputRelayError) -> ReleasedOutput {
        try held.release(through: epoch)
    }

    /// Opens the gate: everything held leaves in order, then frames pass by themselves. Call it while the guest is stopped and this host
    /// is the only active one. The classifiers stay attached, passing; `remove` takes them away later (it may wait for the kernel).
    /// - Throws: `illegalTransition`, `kernel` (the gate then stays closed).
    @discardableResult
    public func open() throws(OutputRelayError) -> ReleasedOutput { try held.open() }

    /// Whether frames pass again after the gate was closed.
    public var isOpen: Bool { held.phase == .open }

    /// Takes away the classifiers and taps of a relay that is open or was never closed. Takes 100 to 200 ms (grace periods of the kernel); the guest may run.
    /// - Throws: `illegalTransition` while the gate is closed; `kernel`.
    public func remove() throws(OutputRelayError) {
        let phase = held.phase
        guard phase == .open || phase == .prepared else {
            throw OutputRelayError(.illegalTransition, "cannot remove the output gate of \(tap) while it is \(phase)")
        }
        try detachGate()
        closeTaps()
    }

    /// `open`, then `remove`.
    @discardableResult
    public func openAndRemove() throws(OutputRelayError) -> ReleasedOutput {
        let released = try open()
        try remove()
        return released
    }

    /// Drops all held frames, closes the taps and leaves the gate closed. Idempotent. A relay that goes away while the gate is closed
    /// does the same; one that goes away while frames pass lets them pass on.
    public func abandon() {
        let passing = held.phase == .open || held.phase == .prepared
        held.drop()
        closeTaps()
        guard passing else { return }
        do throws(OutputRelayError) {
            try detachGate()
        } catch {
            // A gate that lets everything pass is harmless, and the next `prepare` or `LeftoverRelay.remove` takes it away.
        }
    }

    /// What the relay holds and did. Asks the kernel for its drop counter, which may wait for other network configuration.
    /// - Throws: `kernel`.
    public func statistics() throws(OutputRelayError) -> OutputRelayStatistics {
        if let input = try NetworkInterface.find(inputName), input.index == inputIndex {
            dropped.store(input.transmitDropped, ordering: .relaxed)
        }
        return held.statistics(dropped: dropped.load(ordering: .relaxed))
    }

    /// Detaches the gate; one that has gone with the guest's tap is no error.
    private func detachGate() throws(OutputRelayError) {
        do throws(OutputRelayError) {
            try BPF.detach(program, from: guest, .ingress)
        } catch  where error.systemCallNumber == ENOENT || error.systemCallNumber == ENODEV {
            return
        }
    }

    private func closeTaps() {
        let reader = self.reader.withLock { reader in
            defer { reader = nil }
            return reader
        }
        reader?.stop()
        held.closeTaps()
    }
}
