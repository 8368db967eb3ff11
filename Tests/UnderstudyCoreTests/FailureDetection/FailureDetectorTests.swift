// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

struct FailureDetectorTests {
    @Test func `a silent peer is suspected after the limit and not before`() {
        var detector = FailureDetector(limit: 150, ownPause: 75, now: 1000)
        for now in stride(from: UInt64(1010), through: 1150, by: 10) {
            #expect(detector.observe(now: now) == .nothing && !detector.suspects(now: now))
        }
        #expect(detector.suspects(now: 1151))
        detector.heard(now: 1151)
        #expect(!detector.suspects(now: 1301))
    }

    @Test func `our own pause gives the peer a fresh period`() {
        var detector = FailureDetector(limit: 150, ownPause: 75, now: 1000)
        #expect(detector.observe(now: 9000) == .ownPause(nanoseconds: 8000))
        #expect(!detector.suspects(now: 9150) && detector.suspects(now: 9151))
    }

    @Test func `periods of grace do not follow each other without end`() {
        var detector = FailureDetector(limit: 150, ownPause: 75, now: 1000)
        for pause in 1...10 as ClosedRange<UInt64> { _ = detector.observe(now: 1000 + pause * 100) }
        #expect(detector.suspects(now: 2000))
    }

    /// Signs of life with random intervals between `least` and `most` milliseconds; how often the peer was suspected.
    private func suspicions(_ detector: inout FailureDetector, from start: UInt64, _ count: Int, _ least: UInt64, _ most: UInt64) -> (
        Int, UInt64
    ) {
        var random = Seeded(state: 7)
        var (now, suspicions) = (start, 0)
        for _ in 0..<count {
            let next = now + (least + random.below(most - least + 1)) * 1_000_000
            while now < next {
                now = min(now + 10_000_000, next)
                _ = detector.observe(now: now)
            }
            if detector.suspects(now: now) { suspicions += 1 }
            detector.heard(now: now)
        }
        return (suspicions, now)
    }

    private func adaptive() -> FailureDetector {
        FailureDetector(limit: 150_000_000, longestLimit: 600_000_000, ownPause: 75_000_000, now: 0)
    }

    @Test func `on a quiet link the limit is the configured one`() {
        var detector = adaptive()
        let (suspicions, now) = suspicions(&detector, from: 0, 1000, 28, 33)
        #expect(suspicions == 0 && detector.currentLimit == 150_000_000)
        #expect(!detector.suspects(now: now + 150_000_000) && detector.suspects(now: now + 150_000_001))
    }

    @Test func `a peer that becomes slow is not suspected, one with a fixed limit would be`() {
        var (detector, fixed) = (adaptive(), FailureDetector(limit: 150_000_000, ownPause: 75_000_000, now: 0))
        for step in [(UInt64(20), UInt64(60)), (40, 85), (60, 125), (90, 180), (120, 260)] {
            let now = detector.lastHeard
            let (adapted, _) = suspicions(&detector, from: now, 200, step.0, step.1)
            #expect(adapted == 0, "\(step)")
            _ = suspicions(&fixed, from: now, 200, step.0, step.1)
        }
        #expect(suspicions(&fixed, from: fixed.lastHeard, 200, 120, 260).0 > 50)
        #expect(detector.currentLimit > 260_000_000 && detector.currentLimit <= 600_000_000)
    }

    @Test func `a dead peer is suspected within the bound, however slow it was, and the limit goes back when it is quiet again`() {
        var detector = adaptive()
        var now = suspicions(&detector, from: 0, 500, 10, 580).1
        #expect(detector.currentLimit == 600_000_000)
        #expect(!detector.suspects(now: now + 600_000_000) && detector.suspects(now: now + 600_000_001))
        now = suspicions(&detector, from: now, ArrivalRhythm.window, 28, 33).1
        #expect(detector.currentLimit == 150_000_000)
    }

    @Test func `what the peer bears is borne too, within the bound`() {
        var detector = FailureDetector(limit: 150_000_000, longestLimit: 600_000_000, ownPause: 75_000_000, now: 0)
        #expect(detector.currentLimit == 150_000_000)
        detector.bear(420_000_000)
        #expect(detector.currentLimit == 420_000_000)
        detector.bear(.max)
        #expect(detector.currentLimit == 600_000_000)
        detector.bear(0)
        #expect(detector.currentLimit == 150_000_000)
    }

    @Test func `what is no beat keeps the peer alive and says nothing of its rhythm`() {
        var detector = adaptive()
        for step in 1...1000 as ClosedRange<UInt64> {
            detector.heard(now: step * 140_000_000, isBeat: false)
            #expect(!detector.suspects(now: step * 140_000_000 + 139_000_000))
        }
        #expect(detector.currentLimit == 150_000_000)
    }

    @Test func `our own pause says nothing of the peer's rhythm`() {
        var detector = adaptive()
        var now = suspicions(&detector, from: 0, 200, 28, 33).1
        for _ in 0..<50 {
            now += 500_000_000
            _ = detector.observe(now: now)
            detector.heard(now: now)
            for _ in 0..<3 {
                now += 30_000_000
                _ = detector.observe(now: now)
                detector.heard(now: now)
            }
        }
        #expect(detector.currentLimit == 150_000_000)
    }

    @Test func `an old sign of life counts from its age`() {
        var detector = FailureDetector(limit: 150, ownPause: 75, now: 1000)
        detector.heard(now: 1100, age: 60)
        #expect(detector.lastHeard == 1040)
        detector.heard(now: 1110, age: 100_000)
        #expect(detector.lastHeard == 1040)
    }

    @Test func `a clock that seems to go back is harmless`() {
        var detector = FailureDetector(limit: 150, ownPause: 75, now: 1000)
        #expect(detector.observe(now: 10) == .nothing && !detector.suspects(now: 10))
    }
}
