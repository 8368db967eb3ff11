import Glibc
import Synchronization

/// Whether the operator has interrupted a command whose laboratory is then removed on another thread.
final class Interruption: Sendable {
    private let isSeen = Atomic(false)

    func note() {
        isSeen.store(true, ordering: .releasing)
        Output.note("interrupted; everything is being removed")
    }

    /// After a failure: whatever fails because of an interruption is no news, so that this does not return then and the clean-up ends
    /// the process.
    func endHere() {
        // The signal reaches the programs in the laboratory as soon as this one.
        usleep(300_000)
        while isSeen.load(ordering: .acquiring) { sleep(60) }
    }
}
