import HostAPI
import Testing
import UnderstudyCore

@testable import HostDaemon

/// Numbers that a client or a peer may send must not end the daemon.
@Suite struct HostileNumbersTests {
    @Test(arguments: [1e300, 1e12, Double.greatestFiniteMagnitude, Double.infinity])
    func `a client may wait for any length of time`(_ seconds: Double) {
        let registry = MachineRegistry()
        #expect(registry.wait(name: "x", state: .protected, seconds: seconds, goOn: { false }) == nil)
    }

    @Test(arguments: [-1, 0, -Double.infinity, Double.nan])
    func `a client may wait for no time`(_ seconds: Double) {
        #expect(MonotonicClock.nanoseconds(seconds: seconds) == 0)
    }

    @Test func `ordinary times are exact`() {
        #expect(MonotonicClock.nanoseconds(seconds: 2.5) == 2_500_000_000)
    }

    @Test func `a peer may name any detection time`() {
        let timing = ProtocolTiming(detection: .max)
        #expect(timing.detection == 3_600_000_000_000)
        #expect(timing.hungGuestPatience == 4 * timing.detection)
        #expect(ProtocolTiming(detection: 0).detection == 0)
    }

    @Test(arguments: [1e300, -1, 0, 4.9, 10_001, Double.infinity, Double.nan])
    func `a peer may name any interval with a switchover`(_ milliseconds: Double) {
        #expect(SwitchoverOrder(epoch: 1, intervalMilliseconds: milliseconds, protectBack: false).interval == 0)
        #expect(SwitchoverOrder(epoch: 1, intervalMilliseconds: 40, protectBack: false).interval == 40)
    }
}
