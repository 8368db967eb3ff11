// SPDX-License-Identifier: Apache-2.0

/// The time limits of both protocols, all in nanoseconds of the monotonic clock. Safety depends on none of them.
public struct ProtocolTiming: Sendable, Hashable {
    /// Silence after which the backup suspects the primary.
    public var detection: UInt64
    /// Silence after which either host suspects the other however irregularly signs of life came before: 0.7 of it for the primary.
    public var longestSilence: UInt64
    /// Silence after which the primary suspects the backup: 0.7 of `detection`, so that the running guest wins in a mere link cut.
    public var backupSuspicion: UInt64
    /// Silence of either host that is borne while nothing is held back yet: launching QEMUs keeps a host busy, and nobody waits for a takeover.
    public var establishingPatience: UInt64
    /// How long QEMU may take to stop the guest, or to end a save, while no backup could take over yet: a third of `establishingPatience`.
    public var establishingCut: UInt64
    /// How long the backup waits after the channel closed before it asks, so that a living primary may go solo first.
    public var channelClosedGrace: UInt64
    /// A gap between two events of our own that is longer than this counts as our own pause (stopped, starved of processor time).
    public var ownPause: UInt64
    /// How long after an arbiter's lost reply the same is asked again.
    public var arbiterRetry: UInt64
    /// How often the loser looks at the arbiter's record while it holds its guest, and how often a request for takeover is repeated.
    public var arbiterPoll: UInt64
    /// How long a primary with a hung guest leaves a silent backup the first chance before it decides itself.
    public var hungGuestPatience: UInt64

    /// The longest detection time, one hour: a peer that names a longer one gets this.
    private static let longestDetection: UInt64 = 3_600_000_000_000

    /// The limits that follow from the detection time (default 150 ms). `tick` must come at least every `detection / 10`.
    ///
    /// - Parameter longestSilence: the bound of the adaptive detection; by default four times the detection time.
    public init(detection wanted: UInt64 = 150_000_000, longestSilence: UInt64? = nil) {
        let detection = min(wanted, Self.longestDetection)
        self.detection = detection
        self.longestSilence = max(detection, min(longestSilence ?? detection * 4, Self.longestDetection))
        backupSuspicion = detection / 10 * 7
        establishingPatience = detection * 20
        establishingCut = establishingPatience / 3
        channelClosedGrace = detection / 10 * 3
        ownPause = detection / 2
        arbiterRetry = detection / 3
        arbiterPoll = detection
        hungGuestPatience = detection * 4
    }
}
