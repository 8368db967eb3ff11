/// The books of the output gate: which held frame belongs to which epoch, and what may leave (invariant: output commit).
///
/// Frames are records in a ring buffer that the ledger never touches: it deals in *offsets*, the number of bytes stored since the beginning,
/// so that an offset modulo the capacity is a place in the ring. Every stored byte is in one of four stretches, in this order:
///
///     0 ... gone ... tail ... may leave ... committedOffset ... sealed ... last seal ... unsealed ... head
///
/// Records enter at `head`. A seal cuts the unsealed stretch off as one epoch. A commit moves `committedOffset` over whole epochs, never
/// back. Only what lies between `tail` and `committedOffset` may leave.
public struct OutputLedger: Sendable, Equatable {
    /// What the gate does with the guest's frames.
    public enum Phase: Sendable, Equatable {
        /// They pass by themselves; the gate was never closed.
        case prepared
        /// They are held until their epoch is committed.
        case closed
        /// They are held for no longer than it takes to forward them: output is *not* committed.
        case forwarding
        /// They pass by themselves again.
        case open
        /// They are dropped; what was held is gone.
        case abandoned
    }

    struct Epoch: Sendable, Equatable {
        let output: SealedOutput
        let end: UInt64
    }

    /// Bytes of the ring.
    public let capacity: Int
    /// Frames come by here also while nothing is held, and leave at once then.
    public let passesWhileOpen: Bool
    /// What the gate does now.
    public private(set) var phase: Phase = .prepared
    /// Bytes stored since the beginning.
    public private(set) var head: UInt64 = 0
    /// Bytes that have left or were dropped.
    public private(set) var tail: UInt64 = 0
    /// Bytes that may leave.
    public private(set) var committedOffset: UInt64 = 0
    /// Frames held, in any stretch.
    public private(set) var heldFrames = 0
    /// Bytes of the frames held, without the records' overhead.
    public private(set) var heldBytes = 0
    /// The newest sealed epoch, 0 before the first.
    public private(set) var sealedThrough: UInt64 = 0
    /// The newest committed epoch, 0 before the first.
    public private(set) var committedThrough: UInt64 = 0

    private var sealed: [Epoch] = []
    private var unsealedFrames = 0
    private var unsealedBytes = 0

    /// Whether the next frame is the first one that waits for the next seal.
    public var awaitsFirstFrame: Bool { phase == .closed && unsealedFrames == 0 }

    /// A ledger for a ring of `capacity` bytes.
    /// - Parameter passesWhileOpen: frames are stored before `close` and after `open` too, and may leave as they come.
    public init(capacity: Int, passesWhileOpen: Bool = false) {
        self.capacity = capacity
        self.passesWhileOpen = passesWhileOpen
        sealed.reserveCapacity(16)
    }

    /// The stretch that may leave now.
    public var releasable: Range<UInt64> { tail..<max(tail, committedOffset) }

    /// Whether a record of `bytes` fits.
    public func hasRoom(for bytes: Int) -> Bool { head - tail + UInt64(bytes) <= UInt64(capacity) }

    /// The gate closes. `withoutCommit` forwards instead of holding: the negative control of output commit.
    public mutating func close(withoutCommit: Bool = false) throws(OutputLedgerError) {
        guard phase == .prepared else { throw .wrongPhase(event: "close", phase: phase) }
        phase = withoutCommit ? .forwarding : .closed
    }

    /// A record of `record` bytes that holds a frame of `frame` bytes was stored at `head`. The caller has asked `hasRoom`.
    public mutating func store(record: Int, frame: Int) {
        precondition(hasRoom(for: record), "a record was stored over held frames")
        head += UInt64(record)
        heldFrames += 1
        heldBytes += frame
        if phase == .forwarding || passesWhileOpen && (phase == .prepared || phase == .open) {
            committedOffset = head
        } else {
            unsealedFrames += 1
            unsealedBytes += frame
        }
    }

    /// The guest is stopped: everything stored since the last seal belongs to `epoch`.
    /// - Parameter overflowed: passed through to the result.
    public mutating func seal(epoch: UInt64, overflowed: Bool = false) throws(OutputLedgerError) -> SealedOutput {
        guard phase == .closed || phase == .forwarding else { throw .wrongPhase(event: "seal", phase: phase) }
        guard epoch > sealedThrough else { throw .epochNotRising(epoch: epoch, newest: sealedThrough) }
        let output = SealedOutput(epoch: epoch, frames: unsealedFrames, bytes: unsealedBytes, overflowed: overflowed)
        sealed.append(Epoch(output: output, end: head))
        sealedThrough = epoch
        unsealedFrames = 0
        unsealedBytes = 0
        return output
    }

    /// The checkpoint of `epoch` was aborted: its frames wait for the next seal, which may carry the same number.
    public mutating func withdraw(epoch: UInt64) throws(OutputLedgerError) {
        guard phase == .closed || phase == .forwarding else { throw .wrongPhase(event: "withdraw a seal", phase: phase) }
        guard let last = sealed.last, last.output.epoch == epoch else { throw .epochNotWithdrawable(epoch: epoch) }
        sealed.removeLast()
        sealedThrough = sealed.last?.output.epoch ?? committedThrough
        unsealedFrames += last.output.frames
        unsealedBytes += last.output.bytes
    }

    /// The backup holds all epochs up to and including `epoch`: their frames may leave. A commit that is already known changes nothing.
    public mutating func commit(through epoch: UInt64) throws(OutputLedgerError) {
        guard phase == .closed || phase == .forwarding else { throw .wrongPhase(event: "release", phase: phase) }
        guard epoch <= sealedThrough else { throw .epochNotSealed(epoch: epoch, newest: sealedThrough) }
        while let first = sealed.first, first.output.epoch <= epoch {
            committedOffset = max(committedOffset, first.end)
            committedThrough = first.output.epoch
            sealed.removeFirst()
        }
    }

    /// This host is the only active one: everything held may leave, whatever its epoch.
    public mutating func commitEverything() throws(OutputLedgerError) {
        guard phase == .closed || phase == .forwarding else { throw .wrongPhase(event: "open", phase: phase) }
        committedOffset = head
        committedThrough = sealedThrough
        sealed.removeAll(keepingCapacity: true)
        unsealedFrames = 0
        unsealedBytes = 0
    }

    /// The gate is open: frames pass by themselves. Everything has left before, or may leave before them.
    public mutating func open() throws(OutputLedgerError) {
        guard phase == .closed || phase == .forwarding, heldFrames == 0 || passesWhileOpen && committedOffset == head else {
            throw .wrongPhase(event: "open", phase: phase)
        }
        phase = .open
    }

    /// Records up to `offset` with `frames` frames of `bytes` bytes have left, in order. Only what `releasable` named may leave.
    public mutating func left(through offset: UInt64, frames: Int, bytes: Int) {
        precondition(offset >= tail && offset <= committedOffset, "a frame left before its epoch was committed")
        tail = offset
        heldFrames -= frames
        heldBytes -= bytes
    }

    /// Everything held is dropped and nothing will ever leave.
    public mutating func abandon() {
        phase = .abandoned
        tail = head
        committedOffset = head
        heldFrames = 0
        heldBytes = 0
        sealed.removeAll()
        unsealedFrames = 0
        unsealedBytes = 0
    }
}
