// SPDX-License-Identifier: Apache-2.0

/// What a restarted daemon does about a standby that the daemon before it left in the middle of a takeover, or before one.
///
/// Nobody but the host that won a takeover changes its unconfirmed record: the loser holds its guest until that record is confirmed or
/// handed back. So what this host finds of its own can be finished at any later time, and everything else is left to its owner.
public enum TakeoverRecovery: Sendable {
    /// What is left of the standby.
    public enum Guest: Sendable, Hashable {
        /// It is the guest, and it runs.
        case running
        /// The last committed checkpoint is loaded, all of it; the guest stands still.
        case loaded
        /// Its process is gone and the guest never ran in it.
        case neverRan
        /// Its process is gone and the guest may have run in it.
        case gone
    }

    public enum Step: Sendable, Hashable {
        /// The takeover is complete but for this word to the arbiter.
        case confirm(ArbiterProposal)
        /// The guest may run; look again then.
        case resume
        /// Everything is decided: the guest runs here and has no backup.
        case lookAfter(ArbiterRecord)
        /// The former primary holds the only copy.
        case handBack(ArbiterProposal)
        /// The standby never became the guest and is not needed any more.
        case dispose
        /// Another host owns the machine: a guest that runs here must not be heard.
        case hold(owner: String)
        /// The guest ran here and is gone.
        case lost
        /// The record tells nothing about this standby: it is left as it is.
        case leave
    }

    /// - Parameters:
    ///   - session: the record under which the standby waited.
    ///   - current: what the arbiter holds now.
    ///   - nonce: a fresh one.
    public static func step(session: ArbiterRecord, host: String, guest: Guest, current: ArbiterRecord?, nonce: String) -> Step {
        guard let current else { return isGone(guest) ? .dispose : .leave }
        if isTakeover(current, of: session, by: host) { return finish(current, of: session, guest: guest, nonce: nonce) }
        if current.owner != host { return guest == .running ? .hold(owner: current.owner) : .dispose }
        return isGone(guest) ? .dispose : .leave
    }

    private static func finish(_ current: ArbiterRecord, of session: ArbiterRecord, guest: Guest, nonce: String) -> Step {
        switch guest {
        case .running: current.confirmed ? .lookAfter(current) : .confirm(.confirm(current))
        case .loaded: .resume
        case .neverRan: current.confirmed ? .lost : .handBack(.handBack(takenOver: current, to: session.owner, nonce: nonce))
        case .gone: .lost
        }
    }

    private static func isGone(_ guest: Guest) -> Bool { guest == .neverRan || guest == .gone }

    /// True if `current` is a takeover by `host` out of exactly this session.
    private static func isTakeover(_ current: ArbiterRecord, of session: ArbiterRecord, by host: String) -> Bool {
        current.owner == host && current.backup == nil && current.generation == session.generation &+ 1 && current.lineage.count == 2
            && current.lineage.first.map(String.init) == session.nonce
    }
}
