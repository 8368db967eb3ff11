import Demonstration
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// A machine is moved to its backup on purpose: nothing is lost, whatever happens meanwhile.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct SwitchoverTests {
    /// The same connections live through a move, the way back with protection in the other direction, and one more move.
    @Test func aMachineIsMovedBackAndForthUnderOneConnection() throws {
        let pair = try ProtectedLab.moving()
        let first = try pair.switchOver()
        #expect(first.from == "host1" && first.to == "host2" && !first.protected && first.epoch > 0)
        try pair.awaitReplies(after: MonotonicTime.now())
        try pair.awaitOwner(.second)
        #expect(try pair.record()?.generation == first.generation)
        try pair.expectTidy(.first)
        #expect(pair.hasEvent("switched-over", on: pair.daemons.first) && pair.hasEvent("switchover", on: pair.daemons.second))
        #expect(!pair.hasEvent("primary-suspected", on: pair.daemons.second))
        let back = try pair.switchOver(back: true, protectBack: true)
        #expect(back.from == "host2" && back.to == "host1" && back.protected && back.generation > first.generation)
        try pair.awaitState(.protected, on: pair.daemon(.first), seconds: 60)
        #expect(pair.status(.second)?.state == .standby)
        try pair.awaitReplies(after: MonotonicTime.now())
        let again = try pair.switchOver()
        #expect(again.from == "host1" && again.to == "host2")
        try pair.awaitReplies(after: MonotonicTime.now())
        try pair.expectTidy(.first)
        let verdict = try pair.verdict()
        #expect(verdict.passed(reorderedDatagrams: 3), "\(verdict.json)\n\(pair.logs)")
        print("stop to running: \(first.gapMilliseconds), \(back.gapMilliseconds), \(again.gapMilliseconds) ms; \(verdict.json)")
    }

    static let points = ["switchoverAsked:1", "switchoverHeld:1", "switchoverReleased:1", "switchoverRequested:1", "switchoverConfirmed:1"]

    /// The old host dies in the middle of the move: the other one goes on from the last epoch, asked or not.
    @Test func theOldHostMayDieAtEveryPointOfASwitchover() throws {
        var points = Self.points[...]
        let pair = try ProtectedLab(faults: ["host1": points.removeFirst(), "host2": points.removeFirst()], settings: ProtectedLab.patient)
        for point in Self.points {
            try pair.startClients()
            try pair.protect()
            try pair.awaitEpochs(5)
            _ = PendingSwitchover(pair.daemon(pair.active))
            try pair.awaitFault(on: pair.host(pair.active))
            let died = MonotonicTime.now()
            try pair.kill(pair.active)
            try pair.awaitTakeover()
            try pair.awaitReplies(after: died)
            let verdict = try pair.verdict()
            #expect(verdict.passed, "\(point): \(verdict.json)\n\(pair.logs)")
            try pair.revive(pair.active.other, fault: points.popFirst())
        }
    }

    /// What clients send while the guest stands still waits for it, and reaches it once on the new host.
    @Test func whatClientsSendDuringTheMoveReachesTheGuest() throws {
        let pair = try ProtectedLab.moving(faults: ["host1": "switchoverReleased:1"], settings: "detection-ms = 10000")
        _ = PendingSwitchover(pair.daemon(.first))
        try pair.awaitFault(on: pair.lab.host1)
        // Without a way to the new host all of these were lost. Many more would not fit the receive buffer of the guest's socket.
        try pair.awaitDatagrams(25)
        pair.daemon(.first).process.signal(SIGCONT)
        let went = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: went)
        let verdict = try pair.verdict()
        // One datagram may be read by QEMU in the very moment in which it stops the guest.
        #expect(verdict.passed(reorderedDatagrams: 3) && verdict.udpLost <= 3, "\(verdict.json)\n\(pair.logs)")
    }

    /// The standby does not load: the machine is handed back, its guest runs on where it was, and the next switchover succeeds.
    @Test func aSwitchoverWhoseStandbyFailsIsHandedBack() throws {
        let pair = try ProtectedLab.moving(faults: ["host2": "takeoverDecided:1"])
        let pending = PendingSwitchover(pair.daemon(.first))
        try pair.awaitFault(on: pair.lab.host2)
        for pid in pair.machines(on: .second) { Glibc.kill(pid, SIGKILL) }
        pair.daemon(.second).process.signal(SIGCONT)
        try pair.awaitState(.unprotected, on: pair.daemon(.first), seconds: 60)
        try pair.wait(seconds: 60, for: "the client's answer") { pending.error != nil }
        #expect(pending.error?.message.contains("was not switched over") == true, "\(String(describing: pending.error))")
        try pair.awaitReplies(after: MonotonicTime.now())
        #expect(pair.machines(on: .first) == [pair.activePID])
        let record = try #require(try pair.record())
        #expect(record.owner == "host1" && record.confirmed && record.generation == 3, "\(record)")
        try pair.expectTidy(.second)
        try pair.protect()
        #expect(try pair.switchOver().to == "host2")
        try pair.awaitReplies(after: MonotonicTime.now())
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    /// The backup dies before it was asked: the held guest runs on here, since this host wins the next generation.
    @Test func aBackupThatDiesBeforeItIsAskedLeavesTheGuestWhereItIs() throws {
        let pair = try ProtectedLab.moving(faults: ["host1": "switchoverReleased:1"], settings: "detection-ms = 5000")
        let pending = PendingSwitchover(pair.daemon(.first), timeoutSeconds: 2)
        try pair.awaitFault(on: pair.lab.host1)
        let died = MonotonicTime.now()
        try pair.kill(.second)
        pair.daemon(.first).process.signal(SIGCONT)
        try pair.awaitState(.unprotected, on: pair.daemon(.first), seconds: 60)
        try pair.wait(seconds: 60, for: "the client's answer") { pending.error != nil }
        try pair.awaitReplies(after: died)
        #expect(try pair.record()?.owner == "host1")
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    /// The daemon dies with the guest held and nobody takes over: the next daemon lets it run.
    @Test func aHeldGuestRunsOnWhenItsDaemonDiesAndNobodyTakesOver() throws {
        let pair = try ProtectedLab.moving(faults: ["host1": "switchoverHeld:1"], settings: "detection-ms = 5000")
        _ = PendingSwitchover(pair.daemon(.first))
        try pair.awaitFault(on: pair.lab.host1)
        pair.daemons.second.process.signal(SIGSTOP)
        try pair.expectStandingGuest(try GuestProcessor(pid: pair.activePID))
        pair.killFirstDaemon()
        let died = MonotonicTime.now()
        try pair.restartFirstDaemon()
        try pair.awaitState(.unprotected, on: pair.daemons.first)
        pair.daemons.second.process.signal(SIGCONT)
        try pair.awaitReplies(after: died, seconds: 60)
        #expect(try pair.awaitSurvivor() == .first)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }
}
