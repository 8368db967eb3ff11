internal import Glibc
internal import OutputRelay
internal import Synchronization

/// Looks now and then whether every output gate is still the first classifier of its tap.
///
/// On a thread of its own, since the question waits for the kernel's network configuration.
final class GateWatch: Sendable {
    private let stopped = Mutex(false)

    /// - Parameter disturbed: called once, with the reason, when a gate is no longer what it was.
    init(_ output: GuestOutput, disturbed: @escaping @Sendable (String) -> Void) throws(HostDaemonError) {
        try DedicatedThread(name: "gate-watch") { [self] in
            while true {
                for _ in 0..<20 {
                    usleep(100_000)
                    if stopped.withLock({ $0 }) { return }
                }
                do throws(OutputRelayError) {
                    try output.verify()
                } catch {
                    if stopped.withLock({ $0 }) { return }
                    disturbed("\(error)")
                    return
                }
            }
        }
    }

    func stop() { stopped.withLock { $0 = true } }
}
