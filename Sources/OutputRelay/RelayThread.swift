import Glibc
import LinuxShim

/// A dedicated thread (never the cooperative pool: it blocks in poll(2)).
final class RelayThread: @unchecked Sendable {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    // SAFETY: written once in init; read only by `join`, which its only owner calls once.
    private let thread: pthread_t

    /// Starts `run` on a new thread called `name` (at most 15 bytes).
    init(name: String, _ run: @escaping @Sendable () -> Void) throws(OutputRelayError) {
        var thread = pthread_t()
        let body = Unmanaged.passRetained(
            Body {
                understudy_relay_name_thread(name)
                run()
            })
        let result = pthread_create(
            &thread, nil,
            { argument in
                // SAFETY: the argument is the retained Body, consumed exactly once here.
                Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, body.toOpaque())
        guard result == 0 else {
            body.release()
            throw .kernel("starting the relay's thread", "pthread_create", result)
        }
        self.thread = thread
    }

    /// Waits for its end. Call it exactly once.
    func join() { pthread_join(thread, nil) }
}
