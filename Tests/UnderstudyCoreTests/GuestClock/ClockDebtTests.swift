// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

@Suite struct ClockDebtTests {
    @Test func `what was lost is given back in steps, each once`() {
        var debt = ClockDebt(step: 500)
        var given: UInt64 = 0
        for now in 0..<1000 as Range<UInt64> {
            debt.add(4)
            guard let owed = debt.due(now: now) else { continue }
            #expect(owed >= 500 && debt.due(now: now) == nil, "one correction at a time")
            // More is lost while the agent is asked.
            debt.add(4)
            debt.settled(owed, now: now)
            given += owed
        }
        #expect(debt.corrected == given && debt.lost - given < 504 && given > 3000)
    }

    @Test func `a correction that failed is tried again after a while, with all that is owed then`() {
        var debt = ClockDebt(step: 500)
        debt.add(600)
        #expect(debt.due(now: 1) == 600)
        debt.settled(nil, now: 1)
        debt.add(100)
        #expect(debt.due(now: ClockDebt.pauseAfterFailure) == nil)
        #expect(debt.due(now: 1 + ClockDebt.pauseAfterFailure) == 700)
        #expect(debt.corrected == 0)
    }

    @Test func `without a step nothing is ever due, and what is lost is counted all the same`() {
        var debt = ClockDebt(step: 0)
        debt.add(.max / 2)
        #expect(debt.due(now: .max) == nil && debt.lost == .max / 2)
    }
}
