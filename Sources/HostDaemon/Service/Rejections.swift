internal import Links
internal import Logging
internal import Synchronization

/// Tells of connections that were turned away, without letting whoever connects fill log and event list.
///
/// Of each kind of failure the first is told at once and then one a second at the most, with the number of those left out.
final class Rejections: Sendable {
    private struct Kind {
        var toldAt: UInt64
        var untold = 0
    }

    private let events: EventLog
    private let kinds = Mutex<[LinkError.Code: Kind]>([:])
    /// Nanoseconds between two lines of a kind.
    private static let rest: UInt64 = 1_000_000_000

    init(events: EventLog) { self.events = events }

    func record(_ error: LinkError, from address: String, now: UInt64 = MonotonicClock.now) {
        let untold: Int? = kinds.withLock { kinds in
            guard let kind = kinds[error.code], now < kind.toldAt + Self.rest else {
                return kinds.updateValue(Kind(toldAt: now), forKey: error.code)?.untold ?? 0
            }
            kinds[error.code]?.untold += 1
            return nil
        }
        guard let untold else { return }
        let others = untold > 0 ? " (\(untold) more of this kind since the last such line)" : ""
        events.record("rejected", machine: "-", "rejected a connection from \(address): \(error.message)\(others)", level: .warning)
    }
}
