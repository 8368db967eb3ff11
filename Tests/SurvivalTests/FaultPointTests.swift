import Demonstration
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// What the death of a host does at every numbered fault point. A daemon stands still at its point before anything else happens.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct FaultPointTests {
    /// The primary's points, and the pass of them at which the host dies. Those of an early pass strike at the first epochs.
    static let checkpointPoints = [
        "acknowledged:1", "released:1", "checkpointAsked:15", "checkpointStopped:14", "checkpointSealed:13", "checkpointScanned:12",
        "checkpointCopied:11", "checkpointResumed:10", "epochSending:9", "epochSent:8", "acknowledged:7", "released:6",
    ]

    /// The primary dies inside a checkpoint: the backup goes on from the epoch before or, once it is whole there, from this one.
    @Test func aHostMayDieAtEveryPointOfACheckpoint() throws {
        let points = Self.checkpointPoints
        let pair = try ProtectedLab(faults: ["host1": points[0], "host2": points[1]])
        try FaultSeries(pair: pair).killPrimaries(at: points)
    }

    static let earlyPoints = [
        "recordPermitted:1", "standbyPrepared:1", "trackingArmed:1", "roundSent:1", "rehearsalSent:1", "rehearsed:1", "roundSent:2",
        "relayPrepared:1", "checkpointAsked:2", "checkpointStopped:2", "gateClosed:1", "checkpointCopied:2", "epochSending:1",
    ]

    /// Before its first whole epoch the backup has nothing to take over, and leaves nothing behind.
    @Test func aHostThatDiesBeforeTheFirstEpochIsNotTakenOver() throws {
        // A backup that holds nothing yet bears twenty times the detection time of silence, so this one is short.
        let pair = try ProtectedLab(faults: ["host1": Self.earlyPoints[0]], settings: "detection-ms = 200")
        let before = pair.interfaces(on: .second)
        for (index, point) in Self.earlyPoints.enumerated() {
            pair.beginProtecting()
            try pair.awaitFault(on: pair.lab.host1)
            let permitted = try pair.record()
            #expect(permitted?.owner == "host1" && permitted?.backup == "host2", "\(point): \(String(describing: permitted))")
            try pair.kill(.first)
            try pair.wait(seconds: 60, for: "an end of the backup's session at \(point)") {
                let state = pair.status(.second)?.state
                return (state == nil || state == .failed || state == .ended) && pair.machines(on: .second).isEmpty
                    && pair.interfaces(on: .second) == before
            }
            #expect(pair.status(.second)?.takeover == nil, "\(point)")
            #expect(try pair.record() == permitted, "\(point): nothing was decided, so nothing may have changed at the arbiter")
            // The host comes back, and the guest, booted anew, is protected like any other.
            let next = index + 1 < Self.earlyPoints.count ? Self.earlyPoints[index + 1] : nil
            try pair.reboot(.first, fault: next)
            try pair.startGuestAnew()
        }
        try pair.startClients()
        try pair.protect()
        let died = MonotonicTime.now()
        try pair.kill(.first)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    static let backupPoints = [
        "epochStaged:1", "epochAcknowledged:1", "epochApplied:1", "epochStaged:9", "epochAcknowledged:8", "epochApplied:7",
    ]
    static let takeoverPoints = [
        "takeoverAsked:1", "takeoverDecided:1", "standbyActivated:1", "tapOpened:1", "guestRunning:1", "takeoverConfirmed:1",
    ]
    /// So long that the primary does not go on alone before it dies.
    private static let veryPatient = "detection-ms = 1500"

    /// The backup stands still at an epoch, the primary's host dies meanwhile: awake again, the backup takes over.
    @Test func aBackupThatStoodStillTakesOverWhenItWakes() throws {
        let pair = try ProtectedLab(faults: ["host2": Self.backupPoints[0]], settings: Self.veryPatient)
        try FaultSeries(pair: pair).wakeBackups(at: Self.backupPoints, inTakeover: Self.takeoverPoints)
    }

    /// The primary is dead and the backup's daemon dies in its takeover: the guest runs once or not at all, whatever comes back.
    @Test(arguments: takeoverPoints) func aSecondDeathInATakeoverNeverMakesTwoGuests(point: String) throws {
        let pair = try ProtectedLab(faults: ["host2": point])
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        let permitted = try pair.record()
        try pair.kill(.first)
        try pair.awaitFault(on: pair.lab.host2)
        pair.daemon(.second).process.signal(SIGKILL)
        _ = pair.daemon(.second).process.wait(milliseconds: 60_000)
        try pair.revive(.first)
        try pair.restart(.second)
        // Whatever was loaded whole runs on, and the daemon that comes back looks after it without anybody's help.
        if ["standbyActivated:1", "tapOpened:1", "guestRunning:1", "takeoverConfirmed:1"].contains(point) {
            try pair.awaitState(.unprotected, on: pair.daemon(.second))
            pair.settle(on: .second)
            let record = try #require(try pair.record())
            #expect(record.owner == "host2" && record.confirmed, "\(point): \(record)")
            try pair.awaitReplies(after: MonotonicTime.now())
            let verdict = try pair.verdict()
            #expect(verdict.passed, "\(point): \(verdict.json)\n\(pair.logs)")
        } else {
            let from = MonotonicTime.now()
            usleep(700_000)
            let seen = pair.clients?.progress.map(\.lastReplyAt).max() ?? 0
            #expect(seen < from, "\(point): a guest that nobody owns answered\n\(pair.logs)")
            let frames = pair.stopClients()
            #expect(frames.second?.sawFrame(after: from) == false, "\(point): a guest that nobody owns was heard\n\(pair.logs)")
            #expect(frames.first?.sawFrame(after: from) == false, "\(point)\n\(pair.logs)")
        }
        #expect(pair.machines(on: .first).isEmpty, "\(point): nothing may start on the host that came back")
        let record = try pair.record()
        switch point {
        case "takeoverAsked:1":
            // Carried out or not, nothing was loaded: the machine is the former primary's again, which has lost its guest.
            #expect(record == nil || record == permitted || record?.owner == "host1", "\(String(describing: record))")
        case "takeoverDecided:1":
            try pair.wait(seconds: 60, for: "a machine that was handed back, and given up by its owner, whose guest is dead") {
                (try? pair.record()) == .some(nil)
            }
        default: #expect(record?.owner == "host2", "\(String(describing: record))")
        }
    }

    /// QEMU hangs under a living primary, and the backup's daemon dies in the takeover: the hung guest stays held, since the other may have
    /// run. The daemon that comes back settles it: a guest that runs is confirmed, one that never ran is handed back.
    @Test(arguments: ["takeoverDecided:1", "standbyActivated:1", "guestRunning:1"])
    func aTakeoverInDoubtIsSettledByTheDaemonThatComesBack(point: String) throws {
        let pair = try ProtectedLab(faults: ["host2": point])
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        let old = pair.activePID
        Glibc.kill(old, SIGSTOP)
        try pair.awaitFault(on: pair.lab.host2)
        pair.daemon(.second).process.signal(SIGKILL)
        _ = pair.daemon(.second).process.wait(milliseconds: 60_000)
        // Whoever hung wakes up.
        Glibc.kill(old, SIGCONT)
        let woken = MonotonicTime.now()
        try pair.wait(seconds: 60, for: "the primary to hold its guest") { pair.status(.first)?.state == .lost }
        usleep(500_000)
        #expect(pair.status(.first)?.state == .lost)
        #expect(try pair.record()?.owner == "host2")
        let before = MonotonicTime.now()
        #expect(pair.frames(of: .first)?.sawFrame(after: woken) == false, "\(point): the old guest was heard\n\(pair.logs)")
        try pair.restart(.second)
        let winner: ProtectedLab.Side = point == "takeoverDecided:1" ? .first : .second
        try pair.awaitState(.unprotected, on: pair.daemon(winner))
        try pair.wait(seconds: 60, for: "one guest") { pair.machines(on: winner).count == 1 && pair.machines(on: winner.other).isEmpty }
        pair.settle(on: winner)
        try pair.awaitReplies(after: before)
        let record = try #require(try pair.record())
        #expect(record.owner == pair.host(winner).name && record.confirmed && record.backup == nil, "\(record)")
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(point): \(verdict.json)\n\(pair.logs)")
        // And it can be protected again.
        try pair.protect()
    }
}
