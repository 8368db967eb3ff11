internal import OutputRelay

/// What the world sent to a guest at its old host while it is moved here: kept until the guest is about to run, then handed on as it comes.
struct MovedInput: Sendable {
    /// Frames that waited for longer are thrown away, in nanoseconds: they would tell the guest of another time.
    private static let patience: UInt64 = 2_000_000_000
    /// How many frames are kept: as many as the queue of a tap holds.
    private static let limit = 1000

    private var kept: [(frame: ForwardedFrame, at: UInt64)] = []
    private var keptBytes = 0
    /// The guest's taps, once it is about to run.
    private var taps: [StandbyTap]?

    /// Takes frames that just came.
    /// - Returns: how many of them are lost, and why the first one is.
    mutating func take(_ frames: [ForwardedFrame], now: UInt64) -> (count: Int, reason: String)? {
        // What goes to several stations comes to the open taps by their bridges.
        if taps != nil { return deliver(frames.filter { TapQueue.isUnicast(Array($0.bytes)) }) }
        var lost = 0
        for frame in frames {
            if kept.count < Self.limit, keptBytes + frame.bytes.count <= InputForwarding.limit {
                kept.append((frame, now))
                keptBytes += frame.bytes.count
            } else {
                lost += 1
            }
        }
        return lost == 0 ? nil : (lost, "there are too many")
    }

    /// The guest is about to run: the kept frames go to it, oldest first.
    mutating func handOver(to taps: [StandbyTap], now: UInt64) -> (count: Int, reason: String)? {
        self.taps = taps
        let frames = kept.filter { now - min($0.at, now) <= Self.patience }.map(\.frame)
        kept = []
        return deliver(frames)
    }

    private func deliver(_ frames: [ForwardedFrame]) -> (count: Int, reason: String)? {
        var lost = 0
        var failure: OutputRelayError?
        for frame in frames {
            do throws(OutputRelayError) {
                guard let taps, frame.isPlausible(cards: taps.count) else {
                    throw OutputRelayError(.illegalTransition, "no network card of the guest can have such a frame")
                }
                try taps[frame.card].deliver(Array(frame.bytes))
            } catch {
                lost += 1
                failure = failure ?? error
            }
        }
        return failure.map { (lost, "\($0)") }
    }
}
