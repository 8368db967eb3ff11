import Glibc
import LinuxShim

/// A dedicated thread: the server's threads block in the socket and in the export.
struct ConnectionThread {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private let thread: pthread_t

    /// Starts `run` on a new thread called `name` (at most 15 bytes).
    init(name: String, _ run: @escaping @Sendable () -> Void) throws(NBDError) {
        var thread = pthread_t()
        let body = Unmanaged.passRetained(
            Body {
                understudy_name_thread(name)
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
            throw NBDError(.systemCall, "cannot start a thread: \(String(cString: strerror(result)))")
        }
        self.thread = thread
    }

    /// Waits for its end. Call it exactly once.
    func join() { pthread_join(thread, nil) }
}
