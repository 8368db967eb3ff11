// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

struct CheckpointPacerTests {
    @Test func `cuts keep their interval while the link is fast`() {
        var pacer = CheckpointPacer(interval: 25, limit: 150, ownPause: 75)
        #expect(pacer.due == nil)
        pacer.allowed(now: 100)
        #expect(pacer.due == 100)
        pacer.began(now: 100)
        pacer.cut(now: 102)
        pacer.drained(now: 104)
        pacer.allowed(now: 105)
        #expect(pacer.due == nil)
        pacer.ended(now: 106)
        #expect(pacer.due == 127)
    }

    @Test func `the epoch grows when the acknowledgement is late`() {
        var pacer = CheckpointPacer(interval: 25, limit: 150, ownPause: 75)
        pacer.began(now: 100)
        pacer.cut(now: 102)
        pacer.drained(now: 104)
        pacer.ended(now: 106)
        #expect(pacer.due == nil)
        pacer.allowed(now: 300)
        #expect(pacer.due == 127)
        pacer.revoked()
        #expect(pacer.due == nil)
    }

    @Test func `a paused guest is asked once per interval`() {
        var pacer = CheckpointPacer(interval: 25, limit: 150, ownPause: 75)
        pacer.allowed(now: 100)
        pacer.began(now: 100)
        pacer.ended(now: 101)
        pacer.allowed(now: 101)
        #expect(pacer.due == 126)
    }

    @Test func `a save without cut point or end is the guest's failure`() {
        var pacer = CheckpointPacer(interval: 25, limit: 150, ownPause: 75)
        pacer.began(now: 100)
        #expect((1...15).allSatisfy { pacer.failure(now: 100 + $0 * 10) == nil })
        #expect(pacer.failure(now: 260) == .noCutPoint)
        pacer.cut(now: 261)
        #expect(pacer.failure(now: 10_000) == nil)
        pacer.drained(now: 10_000)
        #expect((1...15).allSatisfy { pacer.failure(now: 10_000 + $0 * 10) == nil })
        #expect(pacer.failure(now: 10_160) == .saveDidNotEnd)
    }

    @Test func `our own pause is not the guest's failure`() {
        var pacer = CheckpointPacer(interval: 25, limit: 150, ownPause: 75)
        pacer.began(now: 100)
        #expect(pacer.failure(now: 5_000) == nil)
        #expect(pacer.failure(now: 5_070) == nil)
        #expect(pacer.failure(now: 5_140) == nil)
        #expect(pacer.failure(now: 5_160) == .noCutPoint)
    }
}
