import Demonstration
import Glibc
import HostAPI
import Testing

/// A process that stood still and wakes up in a world that went on without it harms nobody.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct OneActiveFreezeTests {
    @Test func aFrozenQEMUIsReplacedAndStaysSilentWhenItIsWoken() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        pair.guest.process.signal(SIGSTOP)
        try pair.awaitTakeover()
        pair.guest.process.signal(SIGCONT)
        #expect(try pair.awaitSurvivor() == .second)
        try pair.awaitState(.ended, on: pair.daemons.first)
        try pair.expectOneHistory(.second, listener)
    }

    @Test func aFrozenPrimaryDaemonIsReplacedAndEndsItsGuestWhenItIsWoken() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        let daemon = pair.daemons.first.process
        daemon.signal(SIGSTOP)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        try pair.expectOldGuestRuns()
        daemon.signal(SIGCONT)
        #expect(try pair.awaitSurvivor() == .second)
        try pair.awaitState(.ended, on: pair.daemons.first)
        try pair.expectOneHistory(.second, listener)
    }

    @Test func aFrozenHostIsReplacedAndStaysSilentWhenItsProcessesAreWokenOneByOne() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        let daemon = pair.daemons.first.process
        daemon.signal(SIGSTOP)
        pair.guest.process.signal(SIGSTOP)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        pair.guest.process.signal(SIGCONT)
        try pair.expectOldGuestRuns()
        daemon.signal(SIGCONT)
        #expect(try pair.awaitSurvivor() == .second)
        try pair.awaitState(.ended, on: pair.daemons.first)
        try pair.expectOneHistory(.second, listener)
    }

    @Test func aFrozenBackupDaemonIsLeftBehindAndGivesWayWhenItIsWoken() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        let daemon = pair.daemons.second.process
        daemon.signal(SIGSTOP)
        try pair.awaitState(.unprotected, on: pair.daemons.first)
        daemon.signal(SIGCONT)
        #expect(try pair.awaitSurvivor() == .first)
        try pair.expectOneHistory(.first, listener)
    }

    /// The same, woken while the primary may still be deciding.
    @Test(arguments: [120, 220, 320]) func aBackupDaemonThatStoodStillForAMomentLeavesExactlyOneActive(milliseconds: UInt32) throws {
        let (pair, listener) = try ProtectedLab.underTraffic(settings: "detection-ms = 300")
        let daemon = pair.daemons.second.process
        daemon.signal(SIGSTOP)
        usleep(milliseconds * 1000)
        daemon.signal(SIGCONT)
        let committed = pair.status(pair.daemons.first)?.epoch ?? 0
        // Either nobody noticed and epochs go on, or one of both won the next generation.
        try pair.wait(seconds: 60, for: "a settled pair") {
            let first = pair.status(pair.daemons.first)
            return first?.state == .unprotected || first?.state == .ended
                || (first?.state == .protected && (first?.epoch ?? 0) > committed + 10)
        }
        if pair.status(pair.daemons.first)?.state == .protected {
            try pair.killFirstHost()
            try pair.awaitTakeover()
            try pair.expectOneHistory(.second, listener)
        } else {
            try pair.expectOneHistory(try pair.awaitSurvivor(), listener)
        }
    }
}

extension ProtectedLab {
    /// The old guest on the first host really runs: its processor has had 100 ms since this was asked.
    func expectOldGuestRuns() throws {
        let processor = try GuestProcessor(pid: guest.process.pid)
        let start = processor.time
        try wait(seconds: 60, for: "the old guest to run") { processor.time >= start + 100_000_000 }
    }
}
