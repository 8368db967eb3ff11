import Glibc
import LinuxShim
import Synchronization
import UnderstudyCore

/// The frames of one relay between its two taps: ring, ledger and the two directions, shared by the reader thread and the callers.
///
/// Two locks: `intake` (the IN tap, the ledger, the ring's free part) and `outlet` (the OUT tap, the totals, the ring's committed part).
/// Whoever needs both takes `outlet` first. Sealing waits for no release: a release sends without holding `intake`.
final class HeldOutput: Sendable {
    /// How reading from the IN tap ended.
    enum Reading: Equatable {
        /// Nothing is left in the kernel.
        case drained
        /// The limit was reached.
        case more
        /// The ring is full.
        case full
        /// The IN tap failed with this error number.
        case broken(Int32)
    }

    struct Intake: Sendable {
        var ledger: OutputLedger
        var input: FileDescriptor?
    }

    struct Outlet: Sendable {
        var output: FileDescriptor?
        var frames: UInt64 = 0
        var bytes: UInt64 = 0
        var refused: UInt64 = 0
        var lastRelease: UInt64?
        var holdTimes = HoldTimeHistogram()
    }

    let ring: FrameRing
    let gate: GateMap
    let intake: Mutex<Intake>
    let outlet: Mutex<Outlet>
    private let waitingForRoom = Atomic<Bool>(false)
    private let roomEvent: FileDescriptor
    private let onOutput: (@Sendable (UInt64) -> Void)?

    /// - Parameters:
    ///   - roomEvent: an eventfd that is signalled when a full ring has room again.
    ///   - onOutput: see `OutputRelay.Configuration`.
    init(ring: FrameRing, gate: GateMap, taps: RelayTaps, roomEvent: FileDescriptor, onOutput: (@Sendable (UInt64) -> Void)? = nil) {
        self.ring = ring
        self.gate = gate
        self.roomEvent = roomEvent
        self.onOutput = onOutput
        intake = Mutex(Intake(ledger: OutputLedger(capacity: ring.capacity), input: taps.input))
        outlet = Mutex(Outlet(output: taps.output))
    }

    /// Reads up to `limit` frames into the ring.
    func receive(limit: Int) -> Reading {
        intake.withLock { receive(limit: limit, &$0) }
    }

    /// Reads up to `limit` frames into the ring; the caller holds `intake`.
    func receive(limit: Int, _ intake: inout Intake) -> Reading {
        guard let input = intake.input else { return .broken(EBADF) }
        let time = MonotonicClock.now()
        var taken = 0
        while taken < limit {
            guard intake.ledger.hasRoom(for: FrameRing.largestRecord) else {
                waitingForRoom.store(true, ordering: .sequentiallyConsistent)
                return .full
            }
            let count = ring.receive(from: input.number, at: intake.ledger.head, time: time)
            if count == -Int(EAGAIN) { return .drained }
            if count == -Int(EINTR) { continue }
            guard count >= 0 else { return .broken(Int32(-count)) }
            taken += 1
            guard count > FrameRing.virtioHeader else { continue }
            if let onOutput, intake.ledger.awaitsFirstFrame { onOutput(intake.ledger.sealedThrough) }
            intake.ledger.store(record: FrameRing.recordSize(count), frame: count - FrameRing.virtioHeader)
        }
        return .more
    }

    /// Sends everything that the ledger lets leave, in order. On an error the rest stays held.
    func sendReleasable() throws(OutputRelayError) -> ReleasedOutput {
        try outlet.withLock { outlet throws(OutputRelayError) in
            var released = ReleasedOutput()
            while true {
                let range = intake.withLock { $0.ledger.releasable }
                if range.isEmpty { return released }
                try sendSome(range, &outlet, &released)
            }
        }
    }

    /// Sends up to 64 frames of `range`: room is given back in small portions.
    private func sendSome(_ range: Range<UInt64>, _ outlet: inout Outlet, _ released: inout ReleasedOutput) throws(OutputRelayError) {
        guard let output = outlet.output else { throw .kernel("releasing frames", "write", EBADF) }
        var offset = range.lowerBound
        var frames = 0
        var bytes = 0
        var refused = 0
        var failure: Int32 = 0
        let now = MonotonicClock.now()
        while offset < range.upperBound && frames < 64 {
            let length = ring.length(at: offset)
            failure = send(offset, output)
            if failure == EINVAL {
                refused += 1
                failure = 0
            }
            guard failure == 0 else { break }
            let time = ring.time(at: offset)
            outlet.holdTimes.record(now > time ? now - time : 0)
            offset += UInt64(FrameRing.recordSize(length))
            frames += 1
            bytes += length - FrameRing.virtioHeader
        }
        if frames > 0 { outlet.lastRelease = MonotonicClock.now() }
        outlet.frames += UInt64(frames - refused)
        outlet.refused += UInt64(refused)
        outlet.bytes += UInt64(bytes)
        released.frames += frames - refused
        released.bytes += bytes
        released.refused += refused
        let end = offset
        intake.withLock { $0.ledger.left(through: end, frames: frames, bytes: bytes) }
        giveRoom()
        guard failure == 0 else { throw .kernel("releasing frames through the OUT tap", "write", failure) }
    }

    /// Sends one frame; waits up to 100 ms where the kernel is short of memory.
    private func send(_ offset: UInt64, _ output: FileDescriptor) -> Int32 {
        for _ in 0..<500 {
            let failure = ring.send(at: offset, to: output.number)
            guard [EAGAIN, EINTR, ENOBUFS, ENOMEM].contains(failure) else { return failure }
            usleep(200)
        }
        return ENOBUFS
    }

    /// Wakes the reader where it waits for room.
    private func giveRoom() {
        guard waitingForRoom.exchange(false, ordering: .sequentiallyConsistent) else { return }
        signal()
    }

    /// Wakes the reader.
    func signal() {
        var one: UInt64 = 1
        write(roomEvent.number, &one, 8)
    }
}
