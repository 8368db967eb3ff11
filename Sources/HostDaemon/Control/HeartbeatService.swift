internal import Glibc
internal import Synchronization

/// Sends every session's sign of life, on one thread that the kernel prefers to ordinary ones.
final class HeartbeatService: Sendable {
    private struct State {
        var beats: [UInt64: @Sendable () -> Void] = [:]
        var next: UInt64 = 0
    }

    private let state = Mutex(State())

    /// - Parameter interval: milliseconds between two heartbeats; a fifth of the detection time lets four be lost.
    init(intervalMilliseconds: Double) throws(HostDaemonError) {
        try DedicatedThread(name: "heartbeat", urgent: true) { [weak self] in
            let pause = useconds_t(max(1, intervalMilliseconds * 1000))
            while true {
                usleep(pause)
                guard let self else { return }
                for beat in self.state.withLock({ Array($0.beats.values) }) { beat() }
            }
        }
    }

    /// Calls `beat` from now on; it must return at once.
    func add(_ beat: @escaping @Sendable () -> Void) -> UInt64 {
        state.withLock { state in
            state.next += 1
            state.beats[state.next] = beat
            return state.next
        }
    }

    func remove(_ token: UInt64) { state.withLock { state in _ = state.beats.removeValue(forKey: token) } }
}
