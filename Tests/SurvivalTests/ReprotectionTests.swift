import Demonstration
import Glibc
import HostAPI
import Testing
import UnderstudyCore

/// A machine that lost its backup, or its host, is protected again by itself.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct ReprotectionTests {
    private static let automatic = ProtectedLab.patient + "\nreprotect = \"automatic\""

    @Test func `the images of a returned primary become the copies by themselves, and only what differs is sent`() throws {
        let lab = try DiskLab(settings: Self.automatic)
        let pair = lab.pair
        try lab.protect(epochs: 20)
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try pair.wait(seconds: 60, for: "a survivor that says what it waits for") {
            pair.status(.second)?.reprotection?.reason?.contains("host1 cannot be reached") == true
        }
        #expect(pair.log(of: .second).contains("reprotect-waiting"))
        #expect(pair.status(.second)?.state == .unprotected)

        try pair.revive(.first)
        let returned = MonotonicTime.now()
        try pair.awaitState(.protected, on: pair.daemon(.second))
        print("protected again \((MonotonicTime.now() - returned) / 1_000_000) ms after the host's return")
        lab.noteCopies()
        #expect(lab.copies == [lab.journal.path, lab.blocks.path])
        lab.expectComparison()
        #expect(pair.status(.second)?.reprotection == nil)
        try pair.awaitEpochs(5)
        try pair.kill(.second)
        let diedAgain = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: diedAgain)
        try lab.expectWhole()
    }

    @Test func `a backup that dies at any time is replaced as soon as there is one, and unprotect ends the search`() throws {
        let pair = try ProtectedLab(settings: Self.automatic)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        #expect(pair.status(.first)?.clock?.lostSeconds ?? 0 > 0, "the guest stood still for five checkpoints")
        let generation = try #require(try pair.record()?.generation)
        for pid in pair.machines(on: .second) { Glibc.kill(pid, SIGKILL) }
        try pair.wait(seconds: 60, for: "protection in a later generation") {
            guard let status = pair.status(.first) else { return false }
            return status.state == .protected && status.generation > generation
        }
        // The new backup dies while it prepares; the guest goes on, and the next one is found.
        try pair.kill(.second)
        try pair.awaitState(.unprotected, on: pair.daemon(.first))
        try pair.revive(.second, fault: "standbyLaunched:1")
        try pair.awaitFault(on: pair.lab.host2)
        let died = MonotonicTime.now()
        pair.daemon(.second).process.signal(SIGKILL)
        _ = pair.daemon(.second).process.wait(milliseconds: 60_000)
        try pair.awaitReplies(after: died)
        try pair.restart(.second)
        try pair.awaitState(.protected, on: pair.daemon(.first))
        try pair.awaitEpochs(5)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")

        try pair.kill(.second)
        try pair.awaitState(.unprotected, on: pair.daemon(.first))
        _ = try pair.daemon(.first).perform(.unprotect(name: ProtectedLab.machine))
        try pair.revive(.second)
        try pair.wait(seconds: 60, for: "a free name") { pair.status(.first) == nil }
        #expect(try pair.record() == nil)
        #expect(pair.lives(pair.activePID))
    }

    @Test func `a survivor that dies before it is protected again takes the guest with it, and nobody starts an old copy`() throws {
        let pair = try ProtectedLab(settings: Self.automatic)
        try pair.protect()
        try pair.awaitEpochs(5)
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.revive(.first, fault: "standbyLaunched:1")
        try pair.awaitFault(on: pair.lab.host1)
        try pair.kill(.second)
        pair.daemon(.first).process.signal(SIGCONT)
        try pair.wait(seconds: 60, for: "a standby that is given up") { pair.status(.first)?.state == .failed }
        #expect(pair.machines(on: .first).isEmpty)
        let record = try #require(try pair.record())
        #expect(record.owner == "host2" && record.backup == "host1", "\(record)")
    }
}
