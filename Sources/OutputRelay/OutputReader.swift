import Glibc
import Synchronization
import UnderstudyCore

/// The thread that moves frames from the IN tap into the ring, so that the kernel's queue does not run over between two cuts.
final class OutputReader: Sendable {
    private let stopping: Stop
    private let held: HeldOutput
    private let thread: RelayThread

    private final class Stop: Sendable {
        let requested = Atomic<Bool>(false)
    }

    /// - Parameter event: an eventfd that wakes the thread.
    init(_ held: HeldOutput, input: FileDescriptor, event: FileDescriptor) throws(OutputRelayError) {
        let stopping = Stop()
        self.stopping = stopping
        self.held = held
        thread = try RelayThread(name: "output-relay") {
            Self.run(held, input, event) { stopping.requested.load(ordering: .acquiring) }
        }
    }

    /// Ends the thread and waits for it. Call it exactly once.
    func stop() {
        stopping.requested.store(true, ordering: .releasing)
        held.signal()
        thread.join()
    }

    private static func run(_ held: HeldOutput, _ input: FileDescriptor, _ event: FileDescriptor, _ stopped: () -> Bool) {
        var reading = HeldOutput.Reading.drained
        while !stopped() {
            // A tap that is broken, or that nobody may read for want of room, would make poll return at once.
            let wantsInput = reading == .drained
            var descriptors = [
                pollfd(fd: event.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: wantsInput ? input.number : -1, events: Int16(POLLIN), revents: 0),
            ]
            poll(&descriptors, 2, -1)
            if descriptors[0].revents != 0 {
                var count: UInt64 = 0
                read(event.number, &count, 8)
            }
            repeat {
                reading = held.receive(limit: 16)
                forward(held, &reading)
            } while reading == .more && !stopped()
        }
    }

    /// Without output commit, what was read leaves at once.
    private static func forward(_ held: HeldOutput, _ reading: inout HeldOutput.Reading) {
        guard held.intake.withLock({ $0.ledger.phase == .forwarding }) else { return }
        do throws(OutputRelayError) {
            _ = try held.sendReleasable()
        } catch {
            // The frames stay held; the next seal or release of the session meets the same error and reports it.
            reading = .broken(error.systemCallNumber ?? EIO)
        }
    }
}
