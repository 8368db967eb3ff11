internal import Synchronization

/// Whether the machine's old host can still write to images that both hosts see. Nothing is taken over before that is known.
///
/// Three things confirm it: the old host's daemon says over the authenticated channel that it has closed them; its lock on them is gone, where
/// both daemons run on one kernel; or a fence agent has cut the host off.
final class Fence: Sendable {
    private struct State {
        var isConfirmed = false
        var agentIsAtWork = false
        var trouble: String?
        /// Not before this moment is the agent asked, monotonic nanoseconds; nil before the first attempt.
        var agentIsDue: UInt64?
        var failures = 0
    }

    let paths: [String]
    private let lengths: [UInt64]
    private let locksAreSeen: Bool
    private let agent: FenceAgent?
    /// How long the old host's word, or its lock's end, is waited for before the agent is asked, nanoseconds.
    private let grace: UInt64
    private let state = Mutex(State())
    /// Test only: everything is taken for confirmed.
    private let isSkipped: Bool

    /// - Throws: `.refused` when nothing could ever confirm it.
    init(
        paths: [String], lengths: [UInt64], locksAreSeen: Bool, peer: String, configuration: FencingConfiguration?, isSkipped: Bool
    ) throws(HostDaemonError) {
        self.paths = paths
        self.lengths = lengths
        self.locksAreSeen = locksAreSeen
        self.isSkipped = isSkipped
        grace = MonotonicClock.nanoseconds(seconds: configuration?.graceSeconds ?? 0)
        agent = configuration.flatMap { configuration in
            configuration.hosts[peer].map {
                FenceAgent(program: configuration.agent, parameters: $0, timeoutSeconds: configuration.timeoutSeconds)
            }
        }
        guard locksAreSeen || agent != nil else {
            throw HostDaemonError(
                .refused,
                "the disks are shared, and nothing on this host could make sure before a takeover that \(peer) writes to them no more: name a fence agent and \(peer) under `fencing` in the configuration"
            )
        }
    }

    /// The old host's daemon has said that nothing of it can reach the images.
    func confirmByWord() { state.withLock { $0.isConfirmed = true } }

    /// Whether it is certain that the old host writes nothing more.
    var isConfirmed: Bool { state.withLock { $0.isConfirmed } }

    /// Tries once, without waiting for an agent.
    ///
    /// - Returns: the images, locked where that can be; nil while nothing is confirmed.
    /// - Throws: when the agent failed, and when an image cannot be opened though all is confirmed.
    func attempt() throws(HostDaemonError) -> [RawImage]? {
        if isSkipped { return try open(demandingLocks: false) }
        let (isConfirmed, trouble) = state.withLock { state in
            defer { state.trouble = nil }
            return (state.isConfirmed, state.trouble)
        }
        if isConfirmed { return try open(demandingLocks: false) }
        if let trouble { throw HostDaemonError(.system, trouble) }
        if locksAreSeen {
            do throws(HostDaemonError) { return try open(demandingLocks: true) } catch { guard error.code == .busy else { throw error } }
        }
        callAgent()
        return nil
    }

    private func open(demandingLocks: Bool) throws(HostDaemonError) -> [RawImage] {
        var images: [RawImage] = []
        for (path, length) in zip(paths, lengths) {
            images.append(try RawImage(shared: path, byteCount: length, demandsLock: demandingLocks))
        }
        return images
    }

    /// Between two calls of an agent that failed, in nanoseconds: a second, doubled with each failure up to 32.
    private static let (firstPause, mostDoublings): (UInt64, Int) = (1_000_000_000, 5)

    private func callAgent() {
        guard let agent,
            state.withLock({ state in
                let (now, due) = (MonotonicClock.now, state.agentIsDue ?? MonotonicClock.now + grace)
                state.agentIsDue = due
                guard !state.agentIsAtWork, now >= due else { return false }
                state.agentIsAtWork = true
                return true
            })
        else { return }
        let work = { @Sendable [self] in
            do throws(HostDaemonError) {
                try agent.cutOff()
                state.withLock { $0.isConfirmed = true }
            } catch {
                state.withLock { state in
                    state.trouble = error.message
                    // A device that manages power does not get better by being asked without a pause.
                    state.agentIsDue = MonotonicClock.now + Self.firstPause << min(state.failures, Self.mostDoublings)
                    state.failures += 1
                }
            }
            state.withLock { $0.agentIsAtWork = false }
        }
        do throws(HostDaemonError) { try DedicatedThread(name: "fence-agent", work) } catch {
            state.withLock { state in
                state.agentIsAtWork = false
                state.trouble = error.message
            }
        }
    }
}
