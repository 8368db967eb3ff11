import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// A guest that runs without a backup and cannot be protected again runs on, is known, and is told why.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct ProtectAgainTests {
    @Test func aGuestThatCannotBeProtectedAgainStaysUnprotectedAndKnown() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        try pair.killFirstHost()
        try pair.awaitTakeover()
        let record = try #require(try pair.record())

        // Nobody answers there: nothing was even asked of the arbiter.
        #expect(throws: HostAPIError.self) { try pair.daemon(.second).perform(.protect(Self.request)) }
        expectUnprotected(pair, "host1 cannot be reached")
        #expect(try pair.record() == record)

        // The backup is lost while it prepares: the permission that it had got is withdrawn.
        try pair.revive(.first, fault: "standbyLaunched:1")
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        #expect(try pair.record()?.backup == "host1")
        pair.daemon(.first).process.signal(SIGKILL)
        try pair.awaitState(.unprotected, on: pair.daemon(.second))
        expectUnprotected(pair, "the connection to the backup host ended")
        try pair.wait(seconds: 60, for: "the withdrawal") {
            guard let current = try? pair.record() else { return false }
            return current.backup == nil && current.owner == "host2" && current.generation == record.generation + 1
        }

        // A daemon that is restarted now finds the guest.
        pair.daemon(.second).process.signal(SIGKILL)
        _ = pair.daemon(.second).process.wait(milliseconds: 60_000)
        try pair.restart(.second)
        try pair.awaitState(.unprotected, on: pair.daemon(.second))
        try pair.awaitReplies(after: MonotonicTime.now())
        try pair.restart(.first)
        try pair.protect()
        try pair.awaitEpochs(5)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    @Test func aGuestThatWasTakenOverAndDoesNotPowerDownStaysKnownUntilItIsEnded() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        try pair.protect()
        try pair.awaitEpochs(5)
        try pair.killFirstHost()
        try pair.awaitTakeover()
        let second = pair.daemon(.second)
        let error = #expect(throws: HostAPIError.self) {
            try second.perform(.stopMachine(.init(name: ProtectedLab.machine, timeoutSeconds: 0.2, force: false)))
        }
        #expect(error?.code == "timeout")
        try pair.awaitState(.unprotected, on: second)
        #expect(pair.status(.second)?.qemu?.pid == pair.activePID)
        #expect(try pair.record()?.owner == "host2", "no other host may start it")
        _ = try second.perform(.stopMachine(.init(name: ProtectedLab.machine, timeoutSeconds: 0.2, force: true)))
        #expect(!pair.lives(pair.activePID))
        #expect(try pair.record() == nil)
    }

    private static let request = ProtectRequest(name: ProtectedLab.machine, qmp: nil, backup: "host1", intervalMilliseconds: 25)

    private func expectUnprotected(_ pair: ProtectedLab, _ reason: String) {
        let status = pair.status(.second)
        #expect(
            status?.state == .unprotected && status?.message.contains("could not be protected again") == true,
            "\(String(describing: status))")
        #expect(status?.message.contains(reason) == true && status?.takeover != nil, "\(String(describing: status))")
        let session = "\(pair.host(.second).folder)/run/\(ProtectedLab.machine).session.json"
        #expect(FileManager.default.fileExists(atPath: session), "the next daemon would not know the guest")
    }
}
