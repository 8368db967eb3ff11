// SPDX-License-Identifier: Apache-2.0

/// What a guest's clock lost while the guest stood still, and when that is to be given back. Times in nanoseconds.
public struct ClockDebt: Sendable, Equatable {
    /// A correction that failed is not tried again before this.
    public static let pauseAfterFailure: UInt64 = 60_000_000_000

    /// Lost since this host runs the guest.
    public private(set) var lost: UInt64 = 0
    /// Given back of it.
    public private(set) var corrected: UInt64 = 0
    private let step: UInt64
    private var isBeingCorrected = false
    private var notBefore: UInt64 = 0

    /// - Parameter step: so much must be owed before the clock is set; 0: it never is.
    public init(step: UInt64) { self.step = step }

    public mutating func add(_ pause: UInt64) { lost &+= pause }

    /// What to give back now; `settled` must follow. Nil: nothing is due.
    public mutating func due(now: UInt64) -> UInt64? {
        let owed = lost - corrected
        guard step > 0, owed >= step, !isBeingCorrected, now >= notBefore else { return nil }
        isBeingCorrected = true
        return owed
    }

    /// - Parameter amount: what was given back; nil: it failed.
    public mutating func settled(_ amount: UInt64?, now: UInt64) {
        isBeingCorrected = false
        if let amount { corrected = min(lost, corrected &+ amount) } else { notBefore = now &+ Self.pauseAfterFailure }
    }
}
