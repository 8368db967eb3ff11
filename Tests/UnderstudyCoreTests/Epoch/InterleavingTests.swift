// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import UnderstudyCore

/// Random interleavings; a failing seed is printed and reproduces the run.
struct InterleavingTests {
    @Test func `no order of faults and messages breaks output commit or makes two guests active`() {
        var commits = 0
        var takeovers = 0
        for seed in 0..<3000 as Range<UInt64> {
            let run = Simulation.run(seed: seed)
            #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
            commits += run.commits
            takeovers += run.guestEverRanOnBackup ? 1 : 0
        }
        // The checks above mean something only if the runs get somewhere.
        #expect(commits > 3000 * 5)
        #expect(takeovers > 200)
    }

    @Test(arguments: Simulation.Mutation.allCases)
    func `a deliberate mistake is seen`(_ mutation: Simulation.Mutation) {
        // Acknowledging too long is harmful only while the backup waits for the arbiter: the primary's own defences catch the rest.
        let faults: [Simulation.Fault]? =
            switch mutation {
            case .staysAcknowledgingWhileDeciding: [.cutToBackup, .backupLosesArbiter]
            case .switchesOverBeforeTheLastEpoch, .runsOnAfterTheLastEpoch: [.switchover]
            default: nil
            }
        let seeds: Range<UInt64> = 0..<20000
        let caught = seeds.contains { !Simulation.run(seed: $0, faults: faults, mutation: mutation).violations.isEmpty }
        #expect(caught)
    }

    @Test func `a switchover loses no epoch, whatever else happens`() {
        var moved = 0
        var calledOff = 0
        for seed in 0..<1500 as Range<UInt64> {
            var random = Seeded(state: seed)
            let other = Simulation.Fault.allCases[Int(random.below(UInt64(Simulation.Fault.allCases.count)))]
            let run = Simulation.run(seed: seed, faults: [.switchover, .switchover, other])
            #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
            if case .requested(.switchover) = run.cause, run.guestEverRanOnBackup { moved += 1 }
            calledOff += run.refusals
        }
        #expect(moved > 700 && calledOff > 700, "\(moved) were moved, \(calledOff) requests were refused or called off")
    }

    @Test func `a switchover alone moves the guest, or leaves it protected where it is`() {
        for seed in 0..<200 as Range<UInt64> {
            let run = Simulation.run(seed: seed, faults: [.switchover])
            #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
            let moved =
                run.backupRuns && run.primary.state == .ended(.takenOver) && run.stored?.owner == "b" && run.stored?.confirmed == true
            let stayed = run.refusals == 1 && run.stored?.owner == "a" && run.isServed && !run.guestEverRanOnBackup
            #expect(moved || stayed, "seed \(seed): \(run.primary.state), \(String(describing: run.stored))")
        }
    }

    @Test func `without faults every epoch is committed and nobody takes over`() {
        for seed in 0..<20 as Range<UInt64> {
            let run = Simulation.run(seed: seed, faults: [])
            #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
            #expect(run.commits > 50 && !run.guestEverRanOnBackup, "seed \(seed): \(run.commits)")
            #expect(run.stored?.backup == "b")
        }
    }

    @Test(arguments: Simulation.Fault.allCases)
    func `after any single fault a guest is heard or ended on purpose`(_ fault: Simulation.Fault) {
        for seed in 0..<100 as Range<UInt64> {
            let run = Simulation.run(seed: seed, faults: [fault])
            #expect(run.violations.isEmpty, "seed \(seed): \(run.violations)")
            // A shutdown before the record is settled, or a late duplicate of its creation, may leave the owner's own record behind.
            let endedOnPurpose = fault == .guestShutsDown && run.primary.state == .ended(.guestEnded) && run.stored?.owner != "b"
            let lostEarly = fault == .guestExits && run.primary.state == .ended(.guestLost) && run.commits == 0
            #expect(
                run.isServed || endedOnPurpose || lostEarly, "seed \(seed): \(run.primary.state) \(String(describing: run.backup?.state))")
        }
    }
}
