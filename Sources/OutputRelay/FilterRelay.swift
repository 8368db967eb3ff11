import Glibc
import Synchronization
public import UnderstudyCore

/// Output commit for a network card whose host's end is inside QEMU (`-netdev stream`, `dgram`, `socket`): a `filter-redirector` at the
/// netdev gives every frame that the guest sends to this process, which holds it until its epoch is committed and gives it back behind the
/// filter, from where it goes the way that it always went. Frames for the guest never leave QEMU.
///
/// The filter belongs to QEMU: when this process dies, its sockets close, and the filter drops what the guest sends: the gate stays closed.
/// QEMU writes a frame to the socket before the guest's transmission is over, with the big lock held, so at the cut everything that the
/// guest sent is in the socket, and nothing that it sends later.
///
/// States: *prepared* (the filter is off) -> *armed* (frames pass through this process and nothing is held) -> *closed* -> *open* (frames
/// pass through this process) -> *removed*, or *abandoned* (closed for ever). All calls are thread-safe but `arm`, `remove` and `abandon`,
/// which ask QEMU and come from one thread.
public final class FilterRelay: CardGate, @unchecked Sendable {
    // SAFETY: `thread` is behind a lock; everything else is immutable or locks itself.

    /// A filter that is in its place and still off.
    public struct Connection: Sendable {
        /// What `status` calls the card: `netdev:ID`.
        public var port: String
        /// QEMU's word for the netdev.
        public var kind: String
        let fromGuest: FileDescriptor
        let toNetwork: FileDescriptor
        let hold: @Sendable (Bool) throws(OutputRelayError) -> Void
        let detach: @Sendable () throws(OutputRelayError) -> Void

        /// - Parameters:
        ///   - fromGuest: a stream socket through which the filter gives frames out; closed by this object.
        ///   - toNetwork: one through which it takes them back; closed by this object.
        ///   - hold: turns the filter on or off.
        ///   - detach: takes the filter away.
        public init(
            port: String, kind: String, fromGuest: Int32, toNetwork: Int32,
            hold: @escaping @Sendable (Bool) throws(OutputRelayError) -> Void,
            detach: @escaping @Sendable () throws(OutputRelayError) -> Void
        ) {
            self.port = port
            self.kind = kind
            self.fromGuest = FileDescriptor(fromGuest)
            self.toNetwork = FileDescriptor(toNetwork)
            self.hold = hold
            self.detach = detach
        }
    }

    private let connection: Connection
    private let withoutCommit: Bool
    private let traffic: FilterTraffic
    private let thread: Mutex<RelayThread?>
    private let isArmed = Atomic<Bool>(false)

    /// Begins to move what the filter gives out, which is nothing before `arm`. On an error the filter is taken away.
    /// - Throws: `kernel`.
    public init(_ connection: Connection, configuration: OutputRelay.Configuration = OutputRelay.Configuration()) throws(OutputRelayError) {
        self.connection = connection
        withoutCommit = configuration.openWithoutCommit
        do throws(OutputRelayError) {
            let traffic = try FilterTraffic(fromGuest: connection.fromGuest, toNetwork: connection.toNetwork, configuration)
            self.traffic = traffic
            thread = Mutex(try RelayThread(name: "filter-relay") { traffic.run() })
        } catch {
            try connection.detach()
            throw error
        }
    }

    /// Without `remove` or `abandon`: a closed gate stays closed. One that lets frames pass goes on with it as long as this process lives,
    /// since the filter can be taken away by the owner of QEMU's monitor only.
    deinit {
        if isClosed { end() }
    }

    public var port: String { connection.port }
    public var kind: String { connection.kind }
    public var isOpen: Bool { phase == .open }
    private var phase: OutputLedger.Phase { traffic.state.withLock { $0.ledger.phase } }
    private var isClosed: Bool { ![.prepared, .open].contains(phase) }

    /// Turns the filter on: from here on frames pass through this process.
    /// - Throws: `kernel` (QEMU refuses).
    public func arm() throws(OutputRelayError) {
        guard !isArmed.load(ordering: .acquiring) else { return }
        try connection.hold(true)
        isArmed.store(true, ordering: .releasing)
    }

    /// Begins to hold.
    /// - Throws: `illegalTransition`, also before `arm`.
    public func insert() throws(OutputRelayError) {
        guard isArmed.load(ordering: .acquiring) else {
            throw OutputRelayError(.illegalTransition, "the output gate of \(port) was not made ready")
        }
        try change { ledger throws(OutputLedgerError) in try ledger.close(withoutCommit: withoutCommit) }
    }

    /// Nothing: whether the filter is there only QEMU can say, which its monitor's owner asks. A connection that has ended is mostly QEMU's end, and
    /// who took that for a disturbed gate would keep the backup from going on with the guest.
    public func verify() throws(OutputRelayError) {}

    /// A connection that has ended is no error here either: nothing comes any more, and the rest of the checkpoint shows whether QEMU lives.
    /// - Throws: `illegalTransition` (epochs must rise), `kernel` (what came is no frame).
    public func seal(epoch: UInt64) throws(OutputRelayError) -> SealedOutput {
        let sealed = try traffic.state.withLock { state throws(OutputRelayError) in
            let isDrained = traffic.receive(&state, limit: 1 << 20)
            if let failure = state.failure, ![EPIPE, ECONNRESET].contains(failure) {
                throw .kernel("reading held frames from QEMU's filter", "recv", failure)
            }
            return try Self.change(&state.ledger) { ledger throws(OutputLedgerError) in
                try ledger.seal(epoch: epoch, overflowed: !isDrained)
            }
        }
        if phase == .forwarding { traffic.wake() }
        return sealed
    }

    /// - Throws: `illegalTransition` when `epoch` is not the newest sealed one or is committed already.
    public func withdrawSeal(epoch: UInt64) throws(OutputRelayError) {
        try change { ledger throws(OutputLedgerError) in try ledger.withdraw(epoch: epoch) }
    }

    /// What QEMU does not take at once leaves as soon as it does.
    /// - Throws: `illegalTransition` when `epoch` was never sealed; `kernel` when the connection is broken (the rest stays held).
    @discardableResult
    public func release(through epoch: UInt64) throws(OutputRelayError) -> ReleasedOutput {
        try change { ledger throws(OutputLedgerError) in try ledger.commit(through: epoch) }
        return try sendSome()
    }

    /// What was held behind a broken connection is lost: then the filter has gone, and nothing is held any more.
    /// - Throws: `illegalTransition`.
    @discardableResult
    public func open() throws(OutputRelayError) -> ReleasedOutput {
        try traffic.state.withLock { state throws(OutputRelayError) in
            _ = traffic.receive(&state, limit: 1 << 20)
            try Self.change(&state.ledger) { ledger throws(OutputLedgerError) in
                try ledger.commitEverything()
                try ledger.open()
            }
        }
        let released = traffic.state.withLock { traffic.send(&$0, limit: .max) }
        traffic.wake()
        return released
    }

    /// Turns the filter off, waits until everything that went through this process has left, and takes the filter away. A frame that passes
    /// by itself may overtake one that was on its way here. When QEMU cannot be asked, frames pass through this process as before.
    /// - Throws: `illegalTransition` while the gate is closed; `kernel`.
    public func remove() throws(OutputRelayError) {
        guard !isClosed else {
            throw OutputRelayError(.illegalTransition, "cannot remove the output gate of \(port) while it is \(phase)")
        }
        guard thread.withLock({ $0 != nil }) else { return }
        try connection.hold(false)
        var attempts = 1000
        while !traffic.isDrained, attempts > 0 {
            attempts -= 1
            usleep(1000)
        }
        try connection.detach()
        end()
    }

    /// A gate that lets frames pass is taken away; where that fails they pass through this process as long as it lives.
    public func abandon() {
        guard isClosed else {
            do throws(OutputRelayError) {
                try remove()
            } catch {
                // Said by the next `protect`, which finds the filter.
            }
            return
        }
        traffic.state.withLock { $0.ledger.abandon() }
        end()
    }

    public func statistics() throws(OutputRelayError) -> OutputRelayStatistics {
        traffic.state.withLock { state in
            let now = MonotonicClock.now()
            let oldest = state.ledger.heldFrames > 0 ? traffic.arrival(at: state.ledger.tail) : nil
            return OutputRelayStatistics(
                heldFrames: state.ledger.heldFrames, heldBytes: state.ledger.heldBytes, releasedFrames: state.frames,
                releasedBytes: state.bytes, droppedFrames: state.dropped, refusedFrames: 0, undeliveredFrames: 0,
                oldestHeldAge: oldest.map { now - min(now, $0) }, lastReleaseTime: state.lastRelease, holdTimes: state.holdTimes)
        }
    }

    private func sendSome() throws(OutputRelayError) -> ReleasedOutput {
        let (released, failure) = traffic.state.withLock { (traffic.send(&$0, limit: .max), $0.failure) }
        traffic.wake()
        if let failure { throw .kernel("giving released frames back to QEMU's filter", "send", failure) }
        return released
    }

    private func end() {
        let thread = self.thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        guard let thread else { return }
        traffic.stop()
        thread.join()
        traffic.shut()
    }

    private func change(_ event: (inout OutputLedger) throws(OutputLedgerError) -> Void) throws(OutputRelayError) {
        try traffic.state.withLock { state throws(OutputRelayError) in try Self.change(&state.ledger, event) }
    }

    private static func change<Result>(
        _ ledger: inout OutputLedger, _ event: (inout OutputLedger) throws(OutputLedgerError) -> Result
    ) throws(OutputRelayError) -> Result {
        do throws(OutputLedgerError) { return try event(&ledger) } catch {
            throw OutputRelayError(.illegalTransition, "\(error)", cause: error)
        }
    }
}
