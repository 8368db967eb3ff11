import QMP
import Testing

@testable import Hypervisor

@Suite struct RunStatusTrackerTests {
    private func tracker(_ before: [String], draining: [String] = []) -> RunStatusTracker {
        var tracker = RunStatusTracker(status: .running)
        tracker.beginSave()
        for (index, name) in before.enumerated() { tracker.note(QMPEvent(name: name, timestampMicroseconds: Int64(index))) }
        tracker.beginDrain()
        for (index, name) in draining.enumerated() { tracker.note(QMPEvent(name: name, timestampMicroseconds: Int64(100 + index))) }
        return tracker
    }

    @Test func aStopAndAResumptionMakeAGoodSave() {
        let good = tracker(["STOP"], draining: ["RESUME"])
        #expect(good.savedRunningGuest && good.status == .running && good.isCertain)
        #expect(good.stoppedAt == 0 && good.resumedAt == 100)
    }

    @Test func aSaveThatStoppedNothingOrResumedNothingIsNotGood() {
        #expect(!tracker([]).savedRunningGuest)
        #expect(!tracker(["STOP"]).savedRunningGuest)
        #expect(!tracker(["STOP", "RESUME", "STOP"]).savedRunningGuest)
        #expect(!tracker(["SUSPEND"], draining: []).savedRunningGuest)
        #expect(!tracker(["SUSPEND", "STOP"], draining: ["RESUME"]).savedRunningGuest)
    }

    @Test func aSaveThatHoldsIsGoodOnlyIfTheGuestStayedStopped() {
        #expect(tracker(["STOP"]).savedStoppedGuest)
        #expect(!tracker([]).savedStoppedGuest)
        #expect(!tracker(["STOP"], draining: ["RESUME"]).savedStoppedGuest)
        #expect(!tracker(["STOP", "RESUME"]).savedStoppedGuest)
        #expect(!tracker(["STOP", "SHUTDOWN"]).savedStoppedGuest)
    }

    @Test func anEarlierPauseByTheOperatorDoesNotConfuseTheTimes() {
        let good = tracker(["STOP", "RESUME", "STOP"], draining: ["RESUME"])
        #expect(good.savedRunningGuest && good.stoppedAt == 2 && good.resumedAt == 100)
    }

    @Test func whatComesAfterTheEndConcernsTheStatusOnly() {
        let paused = tracker(["STOP"], draining: ["RESUME", "STOP"])
        #expect(paused.savedRunningGuest && paused.status == .paused && paused.resumedAt == 100)
        let shut = tracker(["STOP"], draining: ["RESUME", "SHUTDOWN"])
        #expect(shut.savedRunningGuest && shut.status == .shutdown)
    }

    @Test(arguments: ["WAKEUP", "RESET", "GUEST_PANICKED"]) func eventsThatLeaveTheStatusOpenSaySo(name: String) {
        #expect(!tracker([name]).isCertain)
    }
}
