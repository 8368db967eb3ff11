import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// The backup lacks something: protection is refused in clear words on both hosts, and the guest and its clients notice nothing.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct BackupShortageTests {
    @Test func aBackupWithoutDiskOrMemoryOrArbiterIsRefusedAndTheGuestGoesOn() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient)
        try pair.startClients()
        try withFullDisk(pair, .second) { try refuse(pair, saying: "cannot be made") }
        try withFullDisk(pair, .first) { try refuse(pair, saying: "cannot be written", on: [.first]) }
        try withoutMemoryForQEMU(pair)
        try withoutMemoryForStaging(pair)
        try restartSecondDaemon(pair)
        try withFrozenArbiter(pair)
        // With everything in its place the same machine is protected, and its clients have seen one history all the time.
        try pair.protect()
        let committed = pair.status(.first)?.epoch ?? 0
        try pair.awaitEpochs(committed + 10)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
    }

    /// The takeover itself needs no room, and what it gives back suffices for what a later daemon must know.
    @Test func aDiskThatIsFullAtTheTakeoverHindersNothing() throws {
        let pair = try ProtectedLab()
        endDaemon(pair, .second)
        let folder = try mountFolder(pair, .second, "size=1m,nr_inodes=64")
        defer { umount2(folder, CInt(MNT_DETACH)) }
        try pair.restart(.second)
        try pair.startClients()
        try pair.protect()
        try pair.awaitEpochs(5)
        var files = 0
        while FileManager.default.createFile(atPath: "\(folder)/\(files)", contents: nil) { files += 1 }
        #expect(files > 0 && files < 64, "control: there was room, and there is none")
        let died = MonotonicTime.now()
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
        #expect(pair.status(.second)?.state == .unprotected)
        endDaemon(pair, .second)
        try pair.restart(.second)
        try pair.awaitState(.unprotected, on: pair.daemon(.second))
    }

    /// Protects by the operator's program, which must fail with these words, which the hosts' logs hold too.
    ///
    /// - Parameter meanwhile: done while the program waits.
    private func refuse(
        _ pair: ProtectedLab, saying words: String, on sides: [ProtectedLab.Side] = [.first, .second], meanwhile: () throws -> Void = {}
    ) throws {
        let client = try pair.lab.host1.spawn(pair.protectCommand, log: "client.log")
        try meanwhile()
        let status = client.wait(milliseconds: 60_000)
        let output = (try? String(contentsOfFile: client.log, encoding: .utf8)) ?? ""
        #expect(status == 1 << 8 && output.contains(words), "\(output)\n\(pair.logs)")
        for side in sides { #expect(pair.log(of: side).contains(words), "\(pair.logs)") }
        #expect(try pair.record() == nil, "the arbiter has forgotten what did not come about")
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
    }

    private func endDaemon(_ pair: ProtectedLab, _ side: ProtectedLab.Side) {
        pair.daemon(side).process.signal(SIGKILL)
        _ = pair.daemon(side).process.wait(milliseconds: 60_000)
    }

    private func restartSecondDaemon(_ pair: ProtectedLab, fault: String? = nil) throws {
        endDaemon(pair, .second)
        try pair.restart(.second, fault: fault)
    }

    /// A file system of its own for a host's runtime folder, in this process's mount namespace, which daemons get a copy of.
    private func mountFolder(_ pair: ProtectedLab, _ side: ProtectedLab.Side, _ options: String) throws -> String {
        let folder = "\(pair.host(side).folder)/run"
        try pair.host(side).tool("mkdir", "-p", folder)
        guard mount("tmpfs", folder, "tmpfs", 0, options) == 0 else { throw SurvivalFailure("no tmpfs: errno \(errno)") }
        return folder
    }

    /// The runtime folder takes no file.
    private func withFullDisk(_ pair: ProtectedLab, _ side: ProtectedLab.Side, _ body: () throws -> Void) throws {
        endDaemon(pair, side)
        let folder = try mountFolder(pair, side, "size=4k,nr_inodes=1")
        do {
            defer { umount2(folder, CInt(MNT_DETACH)) }
            try pair.restart(side)
            try body()
            endDaemon(pair, side)
        }
        try pair.restart(side)
    }

    /// The daemon may take little more address space than it has, and so may the QEMUs that it starts.
    private func limitMemory(of pair: ProtectedLab, megabytes: Int) throws {
        let pid = pair.daemon(.second).process.pid
        let pages = try String(contentsOfFile: "/proc/\(pid)/statm", encoding: .utf8).split(separator: " ").first.flatMap { Int($0) } ?? 0
        try pair.lab.host2.tool("prlimit", "--pid", "\(pid)", "--as=\(pages * 4096 + megabytes << 20)")
    }

    private func withoutMemoryForQEMU(_ pair: ProtectedLab) throws {
        try restartSecondDaemon(pair)
        try limitMemory(of: pair, megabytes: 192)
        try refuse(pair, saying: "QEMU does not start")
    }

    private func withoutMemoryForStaging(_ pair: ProtectedLab) throws {
        try restartSecondDaemon(pair, fault: "standbyLaunched:1")
        try refuse(pair, saying: "for staging") {
            try pair.awaitFault(on: pair.lab.host2)
            try limitMemory(of: pair, megabytes: 192)
            pair.daemon(.second).process.signal(SIGCONT)
        }
    }

    private func withFrozenArbiter(_ pair: ProtectedLab) throws {
        let etcd = pair.lab.arbiter.processes(of: "etcd")
        for pid in etcd { Glibc.kill(pid, SIGSTOP) }
        let (status, output) = try pair.lab.host1.attempt(pair.protectCommand)
        for pid in etcd { Glibc.kill(pid, SIGCONT) }
        #expect(status == 1 && output.contains("arbiter"), "\(output)\n\(pair.logs)")
        #expect(pair.log(of: .first).contains("arbiter"))
        try pair.wait(seconds: 60, for: "an arbiter without the machine") { (try? pair.record()) == .some(nil) }
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
    }
}
