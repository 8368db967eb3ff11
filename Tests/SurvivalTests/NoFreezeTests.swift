import Demonstration
import Glibc
import HostAPI
import OutputRelay
import Testing

/// The places of a checkpoint at which the primary's daemon can die, in order.
enum CheckpointStep: String, Sendable, CaseIterable {
    case checkpointAsked, checkpointStopped, checkpointSealed, checkpointScanned, checkpointCopied, checkpointResumed
    case epochSending, epochSent, acknowledged, released

    /// Whether the guest is stopped there.
    var guestStands: Bool {
        switch self {
        case .checkpointStopped, .checkpointSealed, .checkpointScanned, .checkpointCopied: true
        default: false
        }
    }
}

/// No death of the daemon leaves the guest stopped, and what it left undone harms nobody.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct NoFreezeTests {
    @Test(arguments: CheckpointStep.allCases) func theGuestRunsOnWhenTheDaemonIsKilled(at step: CheckpointStep) throws {
        let (pair, listener) = try ProtectedLab.underTraffic(faults: ["host1": "\(step.rawValue):40"])
        try pair.awaitFault(on: pair.lab.host1)
        let processor = try GuestProcessor(pid: pair.guest.process.pid)
        if step.guestStands { try pair.expectStandingGuest(processor) }
        let before = processor.time
        let killed = MonotonicTime.now()
        pair.daemons.first.process.signal(SIGKILL)
        while processor.time <= before, MonotonicTime.now() < killed + 5_000_000_000 { usleep(100) }
        #expect(processor.time > before)
        print("killed at \(step.rawValue): the guest ran on \((MonotonicTime.now() - killed) / 1000) us later")
        try pair.expectOldGuestRuns()
        try pair.awaitTakeover()
        try #expect(pair.gate()?.isClosed == true)
        try pair.expectOneHistory(.second, listener)
    }

    /// The daemon stands still in the middle of a checkpoint, the backup takes over, and the daemon goes on exactly there.
    @Test(arguments: CheckpointStep.allCases) func aDaemonThatGoesOnAfterTheTakeoverLetsNothingOut(at step: CheckpointStep) throws {
        let (pair, listener) = try ProtectedLab.underTraffic(faults: ["host1": "\(step.rawValue):40"])
        try pair.awaitFault(on: pair.lab.host1)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        pair.daemons.first.process.signal(SIGCONT)
        #expect(try pair.awaitSurvivor() == .second)
        try pair.awaitState(.ended, on: pair.daemons.first)
        try #expect(pair.gate() == nil)
        try pair.expectOneHistory(.second, listener)
    }
}

extension ProtectedLab {
    /// The guest's processor gets no time: the control of every look at a running guest.
    func expectStandingGuest(_ processor: GuestProcessor) throws {
        let before = processor.time
        usleep(30_000)
        let after = processor.time
        #expect(after < before + 1_000_000, "its processor had \((after - before) / 1000) us; \(logs)")
    }
}
