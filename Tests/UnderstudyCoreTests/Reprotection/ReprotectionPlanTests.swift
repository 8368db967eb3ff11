// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

@Suite struct ReprotectionPlanTests {
    private static let millisecond: UInt64 = 1_000_000

    /// The pauses before the attempts of a machine whose protection fails every time, in milliseconds.
    private func pauses(_ plan: inout ReprotectionPlan, from start: UInt64, count: Int, hosts: Int = 1) -> [UInt64] {
        var now = start
        var pauses: [UInt64] = []
        while pauses.count < count {
            let begun = now
            while plan.look(.alone, hosts: hosts, now: now) == nil { now += 10 * Self.millisecond }
            pauses.append((now - begun) / Self.millisecond)
            plan.ended()
        }
        return pauses
    }

    @Test func `the first attempt comes soon, and the pauses double up to half a minute`() {
        var plan = ReprotectionPlan()
        #expect(pauses(&plan, from: 0, count: 9) == [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
    }

    @Test func `every host is tried before the pause grows, each in its turn`() {
        var plan = ReprotectionPlan()
        #expect(pauses(&plan, from: 0, count: 6, hosts: 3) == [500, 500, 500, 1000, 1000, 1000])
        #expect(plan.attempts == 6)
    }

    @Test func `only one attempt is under way`() {
        var plan = ReprotectionPlan()
        _ = plan.look(.alone, hosts: 1, now: 0)
        #expect(plan.look(.alone, hosts: 1, now: ReprotectionPlan.firstPause) == 0)
        #expect(plan.look(.alone, hosts: 1, now: 100 * ReprotectionPlan.longestPause) == nil)
        plan.ended()
        // What the attempt began is seen as protection under way: that is no time to begin another.
        #expect(plan.look(.underWay, hosts: 1, now: 200 * ReprotectionPlan.longestPause) == nil)
        #expect(plan.dueAt == nil)
    }

    @Test func `protection that is lost at once again does not shorten the pause, one that held does`() {
        for (held, expected) in [(ReprotectionPlan.probation - 1, UInt64(4000)), (ReprotectionPlan.probation, 500)] {
            var plan = ReprotectionPlan()
            _ = pauses(&plan, from: 0, count: 3)
            let start: UInt64 = 1_000_000_000_000
            for time in [start, start + held] { _ = plan.look(.protected, hosts: 1, now: time) }
            #expect(pauses(&plan, from: start + held + 1, count: 1) == [expected])
        }
    }

    @Test func `nothing is tried while it is decided who runs the machine, nor without a host`() {
        var plan = ReprotectionPlan()
        for step in 0..<1000 as Range<UInt64> {
            let now = step * ReprotectionPlan.firstPause
            #expect(plan.look(.other, hosts: 1, now: now) == nil)
            #expect(plan.look(.alone, hosts: 0, now: now) == nil)
        }
    }
}
