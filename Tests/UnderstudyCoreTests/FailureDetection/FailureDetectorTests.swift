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
