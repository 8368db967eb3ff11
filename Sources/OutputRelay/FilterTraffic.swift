import Glibc
import LinuxShim
import Synchronization
import UnderstudyCore

/// The frames of one relay between the two sockets of a filter inside QEMU, and the thread that moves them.
///
/// QEMU writes each frame before it does anything else, and waits when the socket is full: so the thread always reads, and drops what
/// the ring has no room for. Nothing here ever waits for QEMU, which may be waiting for its checkpoint to be taken: what a socket does not
/// take now, the thread sends later.
final class FilterTraffic: Sendable {
    struct State: Sendable {
        var ledger: OutputLedger
        var assembly = FrameAssembly()
        /// Bytes of the oldest record that have left already.
        var sent = 0
        /// Why a socket is of no use any more.
        var failure: Int32?
        var frames: UInt64 = 0
        var bytes: UInt64 = 0
        var dropped: UInt64 = 0
        var lastRelease: UInt64?
        var holdTimes = HoldTimeHistogram()
    }

    let state: Mutex<State>
    private let ring: FrameRing
    private let fromGuest: FileDescriptor
    private let toNetwork: FileDescriptor
    private let event: FileDescriptor
    private let onOutput: (@Sendable (UInt64) -> Void)?
    private let stopping = Atomic<Bool>(false)
    private let isShut = Atomic<Bool>(false)

    init(
        fromGuest: FileDescriptor, toNetwork: FileDescriptor, _ configuration: OutputRelay.Configuration
    ) throws(OutputRelayError) {
        ring = try FrameRing(bytes: configuration.ringBytes)
        onOutput = configuration.onOutput
        let number = understudy_relay_event()
        guard number >= 0 else { throw .kernel("making the relay's event", "eventfd", -number) }
        event = FileDescriptor(number)
        self.fromGuest = fromGuest
        self.toNetwork = toNetwork
        state = Mutex(State(ledger: OutputLedger(capacity: ring.capacity, passesWhileOpen: true)))
    }

    /// Reads up to `limit` frames. Returns whether nothing is left.
    func receive(_ state: inout State, limit: Int) -> Bool {
        let time = MonotonicClock.now()
        for _ in 0..<limit {
            guard state.failure == nil else { return true }
            let hasRoom = state.ledger.hasRoom(for: FrameRing.largestRecord)
            switch state.assembly.read(from: fromGuest.number, into: ring, at: state.ledger.head, time: time, hasRoom: hasRoom) {
            case .stored(let count):
                if let onOutput, state.ledger.awaitsFirstFrame { onOutput(state.ledger.sealedThrough) }
                state.ledger.store(record: FrameRing.recordSize(count), frame: count - FrameAssembly.prefix)
            case .dropped: state.dropped += 1
            case .drained: return true
            case .broken(let number): state.failure = number
            }
        }
        return false
    }

    /// Sends up to `limit` frames of those that may leave, as far as QEMU's socket takes them.
    func send(_ state: inout State, limit: Int) -> ReleasedOutput {
        var released = ReleasedOutput()
        let now = MonotonicClock.now()
        while released.frames < limit, state.failure == nil, !state.ledger.releasable.isEmpty {
            let offset = state.ledger.releasable.lowerBound
            let length = ring.length(at: offset)
            // SAFETY: the record lies between tail and committedOffset, where nothing is written, and has `length` bytes.
            let count = Glibc.send(
                toNetwork.number, ring.bytes(at: offset) + state.sent, length - state.sent, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { break }
            guard count > 0 else {
                state.failure = errno
                break
            }
            state.sent += count
            guard state.sent == length else { continue }
            state.sent = 0
            let time = ring.time(at: offset)
            state.holdTimes.record(now > time ? now - time : 0)
            state.ledger.left(through: offset + UInt64(FrameRing.recordSize(length)), frames: 1, bytes: length - FrameAssembly.prefix)
            released.frames += 1
            released.bytes += length - FrameAssembly.prefix
        }
        if released.frames > 0 { state.lastRelease = now }
        state.frames += UInt64(released.frames)
        state.bytes += UInt64(released.bytes)
        return released
    }

    /// Whether every frame that the guest has sent has gone to QEMU's netdev.
    var isDrained: Bool {
        state.withLock { state in
            guard receive(&state, limit: 64) else { return false }
            _ = send(&state, limit: .max)
            var unread: Int32 = 0
            // SIOCOUTQ: what QEMU has not read yet.
            let asked = ioctl(toNetwork.number, UInt(TIOCOUTQ), &unread)
            return state.failure != nil || state.ledger.heldFrames == 0 && !state.assembly.isPartial && (asked != 0 || unread == 0)
        }
    }

    /// Moves frames until `stop`.
    func run() {
        while !stopping.load(ordering: .acquiring) {
            let (reads, writes) = state.withLock { ($0.failure == nil, $0.failure == nil && !$0.ledger.releasable.isEmpty) }
            var descriptors = [
                pollfd(fd: event.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: reads ? fromGuest.number : -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: writes ? toNetwork.number : -1, events: Int16(POLLOUT), revents: 0),
            ]
            poll(&descriptors, 3, -1)
            if descriptors[0].revents != 0 {
                var count: UInt64 = 0
                read(event.number, &count, 8)
            }
            state.withLock { state in
                _ = receive(&state, limit: 64)
                _ = send(&state, limit: 64)
            }
        }
    }

    /// When the record at `offset` came, in nanoseconds of CLOCK_MONOTONIC.
    func arrival(at offset: UInt64) -> UInt64 { ring.time(at: offset) }

    /// Wakes the thread: there may be something to send.
    func wake() {
        var one: UInt64 = 1
        write(event.number, &one, 8)
    }

    /// Ends `run`.
    func stop() {
        stopping.store(true, ordering: .releasing)
        wake()
    }

    /// Ends the connection with QEMU, which then drops what the filter gives out. `run` has ended.
    func shut() {
        guard !isShut.exchange(true, ordering: .acquiringAndReleasing) else { return }
        shutdown(fromGuest.number, Int32(SHUT_RDWR))
        shutdown(toNetwork.number, Int32(SHUT_RDWR))
    }
}
