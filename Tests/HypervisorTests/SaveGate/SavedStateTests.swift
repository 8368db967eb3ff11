import Testing

@testable import Hypervisor

@Suite struct SavedStateTests {
    @Test(arguments: [(Int64.min, Int64.max), (Int64.max, Int64.min)])
    func timesThatNoClockGivesAreNoPause(stopped: Int64, resumed: Int64) {
        let state = SavedState(byteCount: 0, stoppedAtMicroseconds: stopped, resumedAtMicroseconds: resumed)
        #expect(state.pauseMicroseconds == nil)
    }

    @Test func thePauseIsTheDifference() {
        let state = SavedState(byteCount: 0, stoppedAtMicroseconds: 1_000, resumedAtMicroseconds: 2_500)
        #expect(state.pauseMicroseconds == 1_500)
    }
}
