internal import Arbiter
internal import Glibc
internal import Logging
internal import Synchronization

/// Asks the arbiter now and then whether it answers: a silent one is found on the day on which it falls silent, and not at the next failure.
final class ArbiterWatch: Sendable {
    /// What the last question brought.
    enum Condition: Sendable, Equatable {
        case unknown
        case answers
        case silent(reason: String)
    }

    private let state = Mutex(Condition.unknown)
    private let arbiter: any ArbiterClient
    private let events: EventLog
    /// Seconds between two questions.
    private static let interval: UInt32 = 10

    init(arbiter: any ArbiterClient, events: EventLog) {
        self.arbiter = arbiter
        self.events = events
    }

    var condition: Condition { state.withLock { $0 } }

    /// Asks at once and then every ten seconds, on a thread of its own.
    func start() throws(HostDaemonError) {
        try DedicatedThread(name: "arbiter-watch") { [self] in
            while true {
                ask()
                sleep(Self.interval)
            }
        }
    }

    private func ask() {
        var now = Condition.answers
        do throws(ArbiterError) { _ = try arbiter.read(key: HostContext.watchKey) } catch { now = .silent(reason: error.description) }
        let before = state.withLock { state in
            defer { state = now }
            return state
        }
        switch (before, now) {
        case (.silent, .silent), (_, .unknown): break
        case (_, .silent(let reason)):
            events.record(
                "arbiter-silent", machine: "-", "the arbiter does not answer; until it does no failure can be decided: \(reason)",
                level: .error)
        case (.silent, .answers): events.record("arbiter-answers", machine: "-", "the arbiter answers again")
        case (_, .answers): break
        }
    }
}
