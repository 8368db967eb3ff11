// SPDX-License-Identifier: Apache-2.0

/// Finds the length of the epochs: short while output waits, long while none does.
///
/// - While output waits, the next cut comes as soon as the share of the time in which the guest stands still allows it:
///   `pause / overhead` after the last one.
/// - While nothing waits, it comes as late as the targets allow, but so that what changes meanwhile is committed within `latency` when
///   output appears: `(latency - base) / (perPage * rate)` after the last one, where `rate` is pages per nanosecond.
///
/// Why it does not oscillate: both rules are of the form T' = c / f(T), where the pages that change in an epoch, and so pause and cost,
/// grow with its length T and ever more slowly, since a page counts once. So T' follows T by an elasticity between 0 and 1, and the sequence
/// runs into its fixed point from one side. Moving averages and a dead zone keep noise out.
public struct Autopilot: Sendable, Equatable {
    public let targets: EpochTargets
    /// Half of what the staging memory holds.
    private let pagesOfRoom: Double
    private var pause = 0.0
    private var pages = 0.0
    private var length = 0.0
    private var cost = CommitCost()
    private var quiet: EpochDecision

    /// The weight of the newest epoch.
    private static let weight = 1.0 / 8
    /// A quiet epoch's length changes only by more than this share.
    private static let deadZone = 0.15

    /// - Parameter stagingPages: the largest epoch, in pages.
    public init(targets: EpochTargets, stagingPages: Int) {
        self.targets = targets
        pagesOfRoom = Double(stagingPages) / 2
        quiet = EpochDecision(interval: min(targets.longest, max(targets.shortest, 25_000_000)), reason: .quiet)
    }

    /// An epoch was cut.
    ///
    /// - Parameters:
    ///   - length: since the cut before it, in nanoseconds.
    ///   - pause: how long the guest stood still, in nanoseconds.
    ///   - pages: how many had changed.
    public mutating func observeCut(length: UInt64, pause: UInt64, pages: Int) {
        let weight = self.length == 0 ? 1 : Self.weight
        self.length += weight * (Double(length) - self.length)
        self.pause += weight * (Double(pause) - self.pause)
        self.pages += weight * (Double(pages) - self.pages)
    }

    /// An epoch was acknowledged, so long after its cut.
    public mutating func observeCommit(after nanoseconds: UInt64, pages: Int) {
        cost.observe(pages: pages, nanoseconds: nanoseconds)
        quiet = settled(quietLength())
    }

    /// The length that the epoch under way shall have.
    ///
    /// - Parameter outputWaits: a frame of the epoch under way is held back.
    public func decide(outputWaits: Bool) -> EpochDecision { outputWaits ? waiting : quiet }

    private var waiting: EpochDecision {
        let wanted = targets.overhead > 0 ? pause / targets.overhead : Double(targets.longest)
        let interval = bounded(wanted)
        return EpochDecision(interval: interval, reason: interval > targets.shortest ? .pauseShare : .outputWaits)
    }

    private func quietLength() -> EpochDecision {
        let rate = length > 0 ? pages / length : 0
        var choice = (length: Double(targets.longest), reason: EpochDecision.Reason.quiet)
        let price = cost.perPage * rate
        let left = max(0, Double(targets.latency) - cost.base)
        if price > 0, left / price < choice.length { choice = (left / price, .commitTime) }
        if rate > 0, pagesOfRoom / rate < choice.length { choice = (pagesOfRoom / rate, .room) }
        // Nothing is gained by cuts that come quicker than those for waiting output.
        return EpochDecision(interval: max(bounded(choice.length), waiting.interval), reason: choice.reason)
    }

    /// The new choice, unless it is about the old one.
    private func settled(_ new: EpochDecision) -> EpochDecision {
        let (old, change) = (Double(quiet.interval), abs(Double(new.interval) - Double(quiet.interval)))
        let isBound = new.interval == targets.longest || new.interval == targets.shortest
        return change > Self.deadZone * old || isBound ? new : quiet
    }

    private func bounded(_ length: Double) -> UInt64 {
        UInt64(min(max(length, Double(targets.shortest)), Double(targets.longest)))
    }
}
