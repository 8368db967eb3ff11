import Demonstration
import Glibc
import HostAPI
import OutputRelay
import Testing
import UnderstudyCore

/// The backup is lost while the primary lives.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct BackupLossTests {
    /// The guest goes on, visibly without a backup, and is protected again as soon as there is one.
    @Test func theGuestGoesOnAloneAndIsProtectedAgain() throws {
        let pair = try ProtectedLab()
        try pair.startClients()
        for death in [Death.host, .daemon, .standby] {
            try pair.protect()
            try pair.awaitEpochs(5)
            let generation = try #require(try pair.record()?.generation)
            let died = MonotonicTime.now()
            try strike(death, pair)
            try pair.awaitState(.unprotected, on: pair.daemon(.first))
            try pair.awaitReplies(after: died)
            let status = try #require(pair.status(.first))
            #expect(!status.protected && status.message.contains("WITHOUT a backup"), "\(death): \(status)")
            #expect(pair.log(of: .first).contains("unprotected"))
            let record = try #require(try pair.record())
            #expect(record.owner == "host1" && record.backup == nil && record.generation == generation + 1, "\(death): \(record)")
            if death == .host { try pair.revive(.second) }
            if death == .daemon { try pair.restart(.second) }
            try pair.wait(seconds: 60, for: "\(death): a tidy backup host") { pair.machines(on: .second).isEmpty }
        }
        try pair.protect()
        let died = MonotonicTime.now()
        try pair.kill(.first)
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    private enum Death { case host, daemon, standby }

    private func strike(_ death: Death, _ pair: ProtectedLab) throws {
        switch death {
        case .host: try pair.kill(.second)
        case .daemon:
            pair.daemon(.second).process.signal(SIGKILL)
            _ = pair.daemon(.second).process.wait(milliseconds: 60_000)
        case .standby:
            for pid in pair.machines(on: .second) { Glibc.kill(pid, SIGKILL) }
        }
    }

    /// The primary's daemon dies while it goes on alone: the gate stays as it is, and the next daemon asks the arbiter anew.
    @Test(arguments: ["soloAsked", "soloDecided", "gateOpened"])
    func aDaemonThatDiesWhileItGoesOnAloneIsFollowedByOneThatDoes(point: String) throws {
        let pair = try ProtectedLab(faults: ["host1": "\(point):1"])
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        try pair.kill(.second)
        try pair.awaitFault(on: pair.lab.host1)
        pair.killFirstDaemon()
        #expect(try pair.gate()?.isClosed == (point != "gateOpened"))
        let died = MonotonicTime.now()
        try pair.restart(.first)
        try pair.awaitReplies(after: died, seconds: 60)
        let record = try #require(try pair.record())
        #expect(record.owner == "host1" && record.backup == nil, "\(record)")
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(point): \(verdict.json)\n\(pair.logs)")
    }

    static let points = FaultPointTests.backupPoints + ["standbyLaunched:1", "rehearsalLoaded:1"]

    /// The backup dies at a point of its own work; the guest and its connections do not notice.
    @Test func theBackupMayDieAtEveryPointOfItsWork() throws {
        let pair = try ProtectedLab(faults: ["host2": Self.points[0]], settings: "detection-ms = 300")
        for (index, point) in Self.points.enumerated() {
            try pair.startClients()
            pair.beginProtecting()
            try pair.awaitFault(on: pair.lab.host2)
            let died = MonotonicTime.now()
            try pair.kill(.second)
            try pair.wait(seconds: 60, for: "\(point): the primary alone, which is \(String(describing: pair.status(.first)))") {
                let state = pair.status(.first)?.state
                return state == .unprotected || state == .failed || state == .ended
            }
            try pair.awaitReplies(after: died)
            let verdict = try pair.verdict()
            #expect(verdict.passed, "\(point): \(verdict.json)\n\(pair.logs)")
            try pair.wait(seconds: 60, for: "\(point): an ungated tap") { pair.leftInterfaces(on: .first).isEmpty }
            try pair.revive(.second, fault: index + 1 < Self.points.count ? Self.points[index + 1] : nil)
        }
        try pair.startClients()
        try pair.protect()
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }
}
