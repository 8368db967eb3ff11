// SPDX-License-Identifier: Apache-2.0

/// When a machine that runs without a backup is to be protected again. Times in nanoseconds of the monotonic clock.
///
/// The first attempt comes soon, each further one after twice the pause. Protection that held for a while makes the next loss a new
/// story; one that is lost at once again does not, so that a pair which cannot stay protected does not stop its guest's output without end.
public struct ReprotectionPlan: Sendable, Equatable {
    /// What is seen of the machine.
    public enum Sight: Sendable {
        /// It runs here without a backup.
        case alone
        /// Somebody protects it just now: this plan's own attempt or the operator.
        case underWay
        case protected
        /// Nothing can be done: it is being decided who runs it, or it has ended.
        case other
    }

    /// The pause before the first attempt.
    public static let firstPause: UInt64 = 500_000_000
    /// The longest pause between two attempts.
    public static let longestPause: UInt64 = 30_000_000_000
    /// Protection that held so long counts as a success.
    public static let probation: UInt64 = 60_000_000_000

    /// Attempts since protection last held.
    public private(set) var attempts = 0
    /// When the next attempt is due; nil while none is waited for.
    public private(set) var dueAt: UInt64?
    private var isTrying = false
    private var protectedSince: UInt64?

    public init() {}

    /// Call it often. - Parameter hosts: how many candidates there are; the pause grows when all of them have been tried.
    /// - Returns: the number of the attempt that must begin now, counted from 0; `ended` must follow. Nil: nothing is due.
    public mutating func look(_ sight: Sight, hosts: Int, now: UInt64) -> Int? {
        if sight == .protected {
            let since = protectedSince ?? now
            protectedSince = since
            if now &- since >= Self.probation { attempts = 0 }
        } else {
            protectedSince = nil
        }
        guard sight == .alone, !isTrying, hosts > 0 else {
            dueAt = nil
            return nil
        }
        guard let dueAt else {
            self.dueAt = now &+ pause(hosts: hosts)
            return nil
        }
        guard now >= dueAt else { return nil }
        self.dueAt = nil
        isTrying = true
        attempts += 1
        return attempts - 1
    }

    /// The attempt that `look` asked for is over, or under way and seen from outside.
    public mutating func ended() { isTrying = false }

    private func pause(hosts: Int) -> UInt64 {
        let rounds = attempts / hosts
        return rounds >= 6 ? Self.longestPause : min(Self.firstPause << UInt64(rounds), Self.longestPause)
    }
}
