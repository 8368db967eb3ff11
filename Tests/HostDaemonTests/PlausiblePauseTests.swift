import Testing

@testable import HostDaemon

/// QEMU stamps its events with the time of day: a clock that jumps between them must not be taken for a pause.
@Suite struct PlausiblePauseTests {
    private func pause(_ microseconds: Int64?) -> Int64? { CheckpointEngine.Cut.plausible(microseconds, within: 3_000_000) }

    @Test func `a pause within the checkpoint counts`() {
        #expect(pause(0) == 0 && pause(1_400) == 1_400 && pause(3_001) == 3_001)
    }

    @Test(arguments: [-1, -3_600_000_000, Int64.min, 3_002, 3_600_000_000, Int64.max, nil])
    func `a pause that cannot be is none`(_ microseconds: Int64?) {
        #expect(pause(microseconds) == nil)
    }
}
