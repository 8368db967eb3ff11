import Glibc
import Synchronization

/// A thread in the caller's network namespace that repeats something until it is stopped or fails.
final class Repeat {
    private final class State: Sendable {
        let stopping = Atomic<Bool>(false)
        let rounds = Atomic<UInt64>(0)
        let failure = Mutex<(any Error)?>(nil)
        let body: @Sendable () throws -> Void
        init(_ body: @escaping @Sendable () throws -> Void) { self.body = body }
    }

    private let state: State
    private var thread = pthread_t()
    private var isRunning = true

    init(_ body: @escaping @Sendable () throws -> Void) throws {
        state = State(body)
        let created = pthread_create(
            &thread, nil,
            { argument in
                let state = Unmanaged<State>.fromOpaque(argument!).takeRetainedValue()
                do {
                    while !state.stopping.load(ordering: .relaxed) {
                        try state.body()
                        state.rounds.add(1, ordering: .relaxed)
                    }
                } catch {
                    state.failure.withLock { $0 = error }
                }
                return nil
            }, Unmanaged.passRetained(state).toOpaque())
        try TestNetwork.require(created == 0, "start a thread")
    }

    /// Rounds done.
    var rounds: UInt64 { state.rounds.load(ordering: .relaxed) }

    /// Ends it; what it failed with.
    @discardableResult
    func stop() -> (any Error)? {
        if isRunning {
            isRunning = false
            state.stopping.store(true, ordering: .relaxed)
            pthread_join(thread, nil)
        }
        return state.failure.withLock { $0 }
    }

    deinit { stop() }
}
