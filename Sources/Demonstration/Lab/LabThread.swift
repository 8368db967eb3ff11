import Glibc

/// A thread of its own that can be joined: blocking calls and namespace changes do not belong on the cooperative pool.
///
/// SAFETY: `handle` is written once in `init`, before the object is shared, and read only by `join`, which the owner calls once.
final class LabThread: @unchecked Sendable {
    private var handle = pthread_t()

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts `body`.
    init(_ body: @escaping @Sendable () -> Void) throws(DemonstrationError) {
        let box = Unmanaged.passRetained(Body(body))
        let result = pthread_create(
            &handle, nil,
            { argument in
                guard let argument else { return nil }
                // SAFETY: the pointer is the box retained above; the thread takes over its reference exactly once.
                Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            throw DemonstrationError(.process, "cannot start a thread: \(LabSystem.message(result)); too many threads on this machine?")
        }
    }

    /// Waits for the thread's end. Call once.
    func join() {
        pthread_join(handle, nil)
    }
}
