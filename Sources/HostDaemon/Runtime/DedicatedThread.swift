internal import Glibc
internal import LinuxShim

/// A thread of its own, for work that blocks or that must not wait for others.
final class DedicatedThread: @unchecked Sendable {
    // SAFETY: `handle` is written once in `init`, before the object is shared; `joined` belongs to the one thread that may call `join`.
    private var handle = pthread_t()
    private var joined = false

    /// Starts the thread.
    ///
    /// - Parameters:
    ///   - urgent: whether the kernel should prefer it to ordinary threads, as a cluster's heartbeats need.
    ///   - stackBytes: the system's default when nil.
    /// - Throws: `.system` when the system has no room for another thread.
    @discardableResult
    init(
        name: String, urgent: Bool = false, stackBytes: Int? = nil, _ body: @escaping @Sendable () -> Void
    ) throws(HostDaemonError) {
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        if let stackBytes { pthread_attr_setstacksize(&attributes, stackBytes) }
        let start = Unmanaged.passRetained(Start(name: name, urgent: urgent, body: body))
        let result = pthread_create(
            &handle, &attributes,
            { argument in
                // SAFETY: the pointer is the retained `Start` of the creating call, taken exactly once.
                let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                understudy_name_thread(start.name)
                if start.urgent { DedicatedThread.becomeUrgent() } else { DedicatedThread.becomeOrdinary() }
                start.body()
                return nil
            }, start.toOpaque())
        guard result == 0 else {
            start.release()
            joined = true
            throw HostDaemonError(
                .system,
                "no thread \(name) can be started: \(String(cString: strerror(result))). Raise the limit of tasks (`TasksMax=` of the unit, `ulimit -u`) or free memory"
            )
        }
    }

    /// A thread that nobody joined gives its resources back by itself.
    deinit { if !joined { pthread_detach(handle) } }

    /// Waits for the thread's end; call it once at the most.
    func join() {
        joined = true
        pthread_join(handle, nil)
    }

    /// Threads inherit urgency from the one that makes them; this goes back to the process's own priority.
    private static func becomeOrdinary() {
        let priority = __priority_which_t(PRIO_PROCESS.rawValue)
        _ = setpriority(priority, 0, getpriority(priority, id_t(getpid())))
    }

    /// Lets the kernel prefer the calling thread from now on. Programs that it starts inherit that: start them before.
    static func becomeUrgent() {
        // A process without the privilege simply keeps the ordinary priority.
        _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, -15)
    }

    private final class Start {
        let name: String
        let urgent: Bool
        let body: @Sendable () -> Void

        init(name: String, urgent: Bool, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.urgent = urgent
            self.body = body
        }
    }
}
