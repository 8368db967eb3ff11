// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

/// The controller over simulated guests with a clock of their own.
struct AutopilotTests {
    private static let ms: UInt64 = 1_000_000

    /// A guest that changes a working set: of `workingSet` pages, `rate` per ms are touched at random, each counted once per epoch.
    private struct SimulatedGuest {
        var rate = 6.0
        var workingSet = 200.0
        /// Pause and commit: base, and per page, in nanoseconds.
        var pause = (base: 1_000_000.0, perPage: 800.0)
        var commit = (base: 1_500_000.0, perPage: 2_500.0)

        /// 1 - e^-x by its own series: the pure ring has no library of mathematics.
        func pages(in length: UInt64) -> Int {
            let x = rate * Double(length) / 1e6 / workingSet
            var power = 1.0
            for _ in 0..<64 { power /= 1 + x / 64 }
            return Int(workingSet * (1 - power))
        }
    }

    /// Runs `count` epochs and returns their lengths in nanoseconds.
    private func run(
        _ autopilot: inout Autopilot, _ guest: SimulatedGuest, epochs count: Int, outputWaits: Bool, noise: Double = 0
    ) -> [UInt64] {
        var numbers = Seeded(state: 7)
        return (0..<count).map { _ in
            let length = autopilot.decide(outputWaits: outputWaits).interval
            let factor = 1 + noise * (Double(numbers.next() % 2001) / 1000 - 1)
            let pages = Int(Double(guest.pages(in: length)) * factor)
            let pause = (guest.pause.base + guest.pause.perPage * Double(pages)) * factor
            let commit = pause + (guest.commit.base + guest.commit.perPage * Double(pages)) * factor
            autopilot.observeCut(length: length, pause: UInt64(pause), pages: pages)
            autopilot.observeCommit(after: UInt64(commit), pages: pages)
            return length
        }
    }

    private func autopilot(_ targets: EpochTargets = EpochTargets()) -> Autopilot { Autopilot(targets: targets, stagingPages: 65_536) }

    @Test func `an idle guest gets the longest epochs`() {
        var autopilot = autopilot()
        #expect(run(&autopilot, SimulatedGuest(rate: 2, workingSet: 150), epochs: 100, outputWaits: false).last == 100 * Self.ms)
        #expect(autopilot.decide(outputWaits: false).reason == .quiet)
    }

    @Test func `waiting output is committed at once when the last cut is long ago, and as often as the pause allows`() {
        var autopilot = autopilot()
        let lengths = run(&autopilot, SimulatedGuest(), epochs: 100, outputWaits: true)
        let decision = autopilot.decide(outputWaits: true)
        #expect(decision.reason == .pauseShare)
        // 1 ms of pause and some for the pages, of which 10 % are allowed.
        #expect((10 * Self.ms...13 * Self.ms).contains(lengths.last ?? 0), "\(lengths.suffix(5))")
    }

    @Test func `a pause of nothing leaves the shortest epochs to waiting output`() {
        var autopilot = autopilot()
        let guest = SimulatedGuest(pause: (base: 50_000, perPage: 0))
        #expect(run(&autopilot, guest, epochs: 50, outputWaits: true).last == 4 * Self.ms)
        #expect(autopilot.decide(outputWaits: true).reason == .outputWaits)
    }

    @Test(arguments: [0.02, 0.05, 0.1, 0.3]) func `the guest stands still for no larger share of the time than wanted`(_ overhead: Double) {
        var autopilot = autopilot(EpochTargets(overhead: overhead, longest: 1_000 * Self.ms))
        let guest = SimulatedGuest(rate: 40, workingSet: 5000)
        let length = run(&autopilot, guest, epochs: 200, outputWaits: true).last ?? 1
        let pause = guest.pause.base + guest.pause.perPage * Double(guest.pages(in: length))
        #expect(pause / Double(length) <= overhead * 1.02, "\(pause) of \(length)")
        #expect(pause / Double(length) >= overhead * 0.9 || length == 4 * Self.ms, "not longer than needed")
    }

    @Test(arguments: [5, 10, 20]) func `what gathers while nothing waits is committed within the latency wanted`(_ latency: UInt64) {
        var autopilot = autopilot(EpochTargets(latency: latency * Self.ms))
        let guest = SimulatedGuest(rate: 100, workingSet: 50_000)
        let length = run(&autopilot, guest, epochs: 300, outputWaits: false).last ?? 0
        let pages = Double(guest.pages(in: length))
        let commit = guest.pause.base + guest.commit.base + (guest.pause.perPage + guest.commit.perPage) * pages
        let floor = autopilot.decide(outputWaits: true).interval
        #expect(
            commit <= Double(latency * Self.ms) * 1.2 || Double(length) <= Double(floor) * 1.2, "\(commit) after \(length), floor \(floor)")
        #expect(autopilot.decide(outputWaits: false).reason == .commitTime)
    }

    @Test func `an epoch never outgrows half of the staging memory`() {
        var autopilot = Autopilot(targets: EpochTargets(latency: 10_000 * Self.ms, longest: 10_000 * Self.ms), stagingPages: 4096)
        let guest = SimulatedGuest(rate: 50, workingSet: 1e9, pause: (base: 1_000_000, perPage: 10), commit: (base: 1_000_000, perPage: 10))
        let lengths = run(&autopilot, guest, epochs: 200, outputWaits: false)
        #expect(lengths.suffix(100).allSatisfy { guest.pages(in: $0) <= 2400 }, "\(lengths.suffix(3))")
        #expect(autopilot.decide(outputWaits: false).reason == .room)
    }

    /// Length after each of two changes of the load, from both sides of the fixed point.
    @Test func `a step of the load is followed without overshoot`() {
        var autopilot = autopilot()
        _ = run(&autopilot, SimulatedGuest(rate: 2, workingSet: 150), epochs: 100, outputWaits: false)
        let down = run(&autopilot, SimulatedGuest(rate: 60, workingSet: 100_000), epochs: 120, outputWaits: false)
        let settled = Double(down.last ?? 0)
        #expect(down.allSatisfy { Double($0) >= settled * 0.6 }, "falls to its new length and not far below: \(down)")
        let near = down.firstIndex { Double($0) < settled * 1.3 } ?? .max
        #expect(near < 40, "settled after \(near) epochs: \(down)")
        let up = run(&autopilot, SimulatedGuest(rate: 2, workingSet: 150), epochs: 200, outputWaits: false)
        #expect(up.last == 100 * Self.ms)
    }

    @Test func `noise moves nothing back and forth`() {
        var autopilot = autopilot()
        let guest = SimulatedGuest(rate: 60, workingSet: 100_000)
        let lengths = run(&autopilot, guest, epochs: 600, outputWaits: false, noise: 0.2).suffix(300)
        let (low, high) = (Double(lengths.min() ?? 0), Double(lengths.max() ?? 0))
        #expect(high <= low * 1.6, "\(low) to \(high)")
        let turns = zip(lengths, lengths.dropFirst()).count { $0 != $1 }
        #expect(turns < 60, "the length changed \(turns) times in 300 epochs")
    }

    @Test func `whatever is observed, every length lies within its bounds`() {
        var numbers = Seeded(state: 3)
        let targets = EpochTargets()
        for _ in 0..<50 {
            var autopilot = autopilot()
            for _ in 0..<200 {
                let pages = Int(truncatingIfNeeded: numbers.next() >> (numbers.next() % 64)) & .max
                autopilot.observeCut(
                    length: numbers.next() >> (numbers.next() % 64), pause: numbers.next() >> (numbers.next() % 64), pages: pages)
                autopilot.observeCommit(after: numbers.next() >> (numbers.next() % 64), pages: pages)
                for waits in [false, true] {
                    #expect((targets.shortest...targets.longest).contains(autopilot.decide(outputWaits: waits).interval))
                }
            }
        }
    }
}
