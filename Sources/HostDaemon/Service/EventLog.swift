internal import Foundation
internal import HostAPI
public import Logging
internal import Synchronization

/// Everything that happened on this host since the daemon started, for `understudy events`, and in the log.
public final class EventLog: Sendable {
    private struct State {
        var events: [HostEvent] = []
        var sequence: UInt64 = 0
        var followers: [UInt64: @Sendable (HostEvent) -> Void] = [:]
        var nextFollower: UInt64 = 0
        var kinds: [String: UInt64] = [:]
        var takeovers: [String: UInt64] = [:]
    }

    private let state = Mutex(State())
    private let logger: Logger
    /// How many past events a new follower is told.
    private static let kept = 1000

    public init(logger: Logger) { self.logger = logger }

    public func record(_ kind: String, machine: String, _ message: String, level: Logger.Level = .notice, fields: [String: String] = [:]) {
        var metadata: Logger.Metadata = ["machine": "\(machine)", "event": "\(kind)"]
        for (key, value) in fields { metadata[key] = "\(value)" }
        logger.log(level: level, "\(message)", metadata: metadata)
        guard level >= .info else { return }
        let time = Date().timeIntervalSince1970
        state.withLock { state in
            state.sequence += 1
            state.kinds[kind, default: 0] += 1
            if kind == "takeover" { state.takeovers[machine, default: 0] += 1 }
            let event = HostEvent(sequence: state.sequence, time: time, machine: machine, kind: kind, message: message, fields: fields)
            state.events.append(event)
            if state.events.count > Self.kept { state.events.removeFirst(state.events.count - Self.kept) }
            for follower in state.followers.values { follower(event) }
        }
    }

    /// Hands over what is remembered and everything to come, without a gap between the two.
    func follow(_ follower: @escaping @Sendable (HostEvent) -> Void) -> (past: [HostEvent], token: UInt64) {
        state.withLock { state in
            state.nextFollower += 1
            state.followers[state.nextFollower] = follower
            return (state.events, state.nextFollower)
        }
    }

    func unfollow(_ token: UInt64) {
        state.withLock { state in _ = state.followers.removeValue(forKey: token) }
    }

    /// How often each kind of event happened, and how often each machine was taken over.
    var counts: (kinds: [String: UInt64], takeovers: [String: UInt64]) { state.withLock { ($0.kinds, $0.takeovers) } }

    var past: [HostEvent] { state.withLock { $0.events } }
}
