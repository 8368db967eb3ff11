import Demonstration
import Glibc
import HostAPI
import OutputRelay
import Testing
import UnderstudyCore

/// A daemon that died leaves a closed gate, and the next one opens it only when the arbiter says that nobody else runs the guest.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct OneActiveRestartTests {
    private static let arbiter = LabAddresses.hostArbiterLink

    @Test func aDaemonRestartedAfterTheTakeoverEndsTheOldGuestBeforeItRemovesTheGate() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        pair.killFirstDaemon()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        try pair.expectOldGuestRuns()
        try #expect(pair.gate()?.isClosed == true)
        try pair.restartFirstDaemon()
        try pair.awaitState(.ended, on: pair.daemons.first)
        #expect(try pair.awaitSurvivor() == .second)
        try #expect(pair.gate() == nil)
        try pair.expectOneHistory(.second, listener)
    }

    /// The negative control of every check in this suite and its sisters: a rule of the product is broken by hand.
    @Test func anOldGuestWhoseGateIsRemovedAfterTheTakeoverIsHeardAndCaught() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        pair.killFirstDaemon()
        try pair.awaitTakeover()
        let decided = try #require(pair.status(pair.daemons.second)?.takeover?.decidedAtNanoseconds)
        try pair.expectOldGuestRuns()
        #expect(!listener.first.sawFrame(after: decided))
        try pair.lab.host1.run { () throws(DemonstrationError) in
            do throws(OutputRelayError) { try LeftoverRelay.remove(tap: LabAddresses.tap) } catch {
                throw DemonstrationError(.network, "\(error)")
            }
        }
        try pair.wait(seconds: 60, for: "a frame of the old guest") { listener.first.sawFrame(after: decided) }
        #expect(!listener.violations(takenOverAt: decided).isEmpty)
    }

    @Test func aDaemonThatDiesAndIsBackAtOnceLeavesExactlyOneActive() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        pair.killFirstDaemon()
        try pair.restartFirstDaemon()
        try pair.expectOneHistory(try pair.awaitSurvivor(), listener)
    }

    @Test func aRestartedDaemonWhoseBackupDidNotDecideGoesOnAloneAndTheBackupGivesWay() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        pair.daemons.second.process.signal(SIGSTOP)
        pair.killFirstDaemon()
        try #expect(pair.gate()?.isClosed == true)
        // As a daemon leaves a guest that it held when it died.
        pair.guest.process.signal(SIGSTOP)
        try pair.restartFirstDaemon()
        try pair.awaitState(.unprotected, on: pair.daemons.first)
        try #expect(pair.gate() == nil)
        pair.daemons.second.process.signal(SIGCONT)
        #expect(try pair.awaitSurvivor() == .first)
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        // However often the daemon dies now, the guest that runs alone goes on.
        for _ in 1...2 {
            let generation = try pair.record()?.generation ?? 0
            pair.killFirstDaemon()
            try pair.restartFirstDaemon()
            try pair.awaitState(.unprotected, on: pair.daemons.first)
            try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
            #expect(try pair.record()?.generation == generation + 1)
        }
        // The recovered machine can be protected again, and then survives the death of its host.
        try pair.protect()
        try pair.awaitMoreEpochs(5)
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.expectOneHistory(.second, listener)
    }

    @Test func aRestartedDaemonKeepsTheGateClosedUntilTheArbiterAnswers() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        pair.daemons.second.process.signal(SIGSTOP)
        try pair.lab.host1.setLink(Self.arbiter, up: false)
        pair.killFirstDaemon()
        let died = MonotonicTime.now()
        try pair.restartFirstDaemon()
        try pair.wait(seconds: 60, for: "the question") { pair.hasEvent("arbiter-unreachable", on: pair.daemons.first) }
        #expect(pair.status(pair.daemons.first)?.state == .deciding)
        try #expect(pair.gate()?.isClosed == true)
        try pair.expectOldGuestRuns()
        #expect(!listener.first.sawFrame(after: died))
        try pair.lab.host1.setLink(Self.arbiter, up: true)
        try pair.awaitState(.unprotected, on: pair.daemons.first)
        pair.daemons.second.process.signal(SIGCONT)
        #expect(try pair.awaitSurvivor() == .first)
        try pair.expectOneHistory(.first, listener)
    }

    /// As before, but the other host takes over while the restarted daemon cannot ask.
    @Test func aRestartedDaemonThatCouldNotAskInTimeEndsItsGuest() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        try pair.lab.host1.setLink(Self.arbiter, up: false)
        pair.killFirstDaemon()
        try pair.restartFirstDaemon()
        try pair.awaitTakeover()
        #expect(pair.status(pair.daemons.first)?.state == .deciding)
        try pair.lab.host1.setLink(Self.arbiter, up: true)
        #expect(try pair.awaitSurvivor() == .second)
        try pair.awaitState(.ended, on: pair.daemons.first)
        try #expect(pair.gate() == nil)
        try pair.expectOneHistory(.second, listener)
    }
}

extension ProtectedLab {
    /// SIGKILL to the first host's daemon alone: its host, its guest and its links live.
    func killFirstDaemon() {
        daemons.first.process.signal(SIGKILL)
        _ = daemons.first.process.wait(milliseconds: 60_000)
    }

    /// What stands on the guest's tap of the first host.
    func gate() throws -> LeftoverRelay? {
        try lab.host1.run { () throws(DemonstrationError) in
            do throws(OutputRelayError) { return try LeftoverRelay.find(tap: LabAddresses.tap) } catch {
                throw DemonstrationError(.network, "\(error)")
            }
        }
    }
}
