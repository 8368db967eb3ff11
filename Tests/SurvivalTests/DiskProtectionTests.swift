import Demonstration
import Foundation
import Glibc
import HostAPI
import QMP
import Testing

/// Protection of a guest with disks comes, goes and moves without a trace on its disks.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct DiskProtectionTests {
    /// What of ours hangs on the guest's disks, as QEMU tells it.
    private func traces(_ pair: ProtectedLab) throws -> [String] {
        let monitor = try pair.connectSecondMonitor()
        defer { monitor.close() }
        let jobs = try monitor.execute("query-block-jobs").array ?? []
        let nodes = try monitor.execute("query-named-block-nodes", arguments: ["flat": true]).array ?? []
        return (jobs.compactMap { $0["device"]?.string } + nodes.compactMap { $0["node-name"]?.string }).filter {
            $0.hasPrefix("understudy-")
        }
    }

    @Test func `unprotect leaves the disks as they were found, and the next protection copies them again`() throws {
        let lab = try DiskLab(extraMonitor: true)
        let pair = lab.pair
        #expect(try traces(pair).isEmpty)
        try lab.protect()
        #expect(try traces(pair).count >= 4)
        #expect(pair.status(.first)?.disks?.allSatisfy { $0.replicatedBytes > 0 } == true)
        _ = try pair.daemons.first.perform(.unprotect(name: ProtectedLab.machine))
        let left = try traces(pair)
        #expect(left.isEmpty, "\(left)\n\(pair.logs)")
        try lab.expectKnownBlocks("unprotected")
        try pair.protect()
        lab.noteCopies()
        try pair.awaitEpochs(5)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)\n\(pair.logs)")
        try pair.startClients()
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try lab.expectWhole()
    }

    @Test func `a guest whose backup dies goes on writing, unprotected and free of mirrors`() throws {
        let lab = try DiskLab(extraMonitor: true)
        let pair = lab.pair
        try lab.protect()
        try pair.kill(.second)
        let died = MonotonicTime.now()
        try pair.awaitState(.unprotected, on: pair.daemons.first, seconds: 60)
        try pair.awaitReplies(after: died)
        try pair.wait(seconds: 60, for: "the end of the mirrors") { (try? traces(pair))?.isEmpty == true }
        let before = try pair.lab.blockState(checking: true).written
        try pair.wait(seconds: 60, for: "further writes") { ((try? pair.lab.blockState(checking: false).written) ?? 0) > before + 50 }
        try lab.expectKnownBlocks("alone")
        #expect(pair.status(.first)?.disks == nil)
        // The backup comes back, and the copies there are written again without a question.
        try pair.revive(.second)
        try pair.protect()
        lab.noteCopies()
        lab.expectComparison()
        try pair.awaitEpochs(5)
        let again = MonotonicTime.now()
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: again)
        try lab.expectWhole()
    }

    @Test func `a machine with disks is moved back and forth`() throws {
        let lab = try DiskLab(DiskLab.Setup(format: .qcow2))
        let pair = lab.pair
        try lab.protect()
        let copies = lab.copies
        _ = try pair.switchOver(protectBack: true)
        try pair.awaitReplies(after: MonotonicTime.now())
        try pair.awaitState(.protected, on: pair.daemon(.second), seconds: 60)
        try lab.expectKnownBlocks("moved")
        #expect(try signatures(copies).allSatisfy { $0.contains("ran") })
        _ = try pair.switchOver(back: true)
        // The other host goes on from them, so that they may be written again.
        #expect(try signatures(copies).allSatisfy { $0.contains("copy") })
        try pair.protect()
        lab.noteCopies()
        // The other host's copy is the one on which the guest ran there.
        lab.expectComparison()
        try pair.awaitEpochs(5)
        try lab.expectKnownBlocks("moved back")
        _ = try pair.switchOver()
        try pair.awaitReplies(after: MonotonicTime.now())
        try lab.expectWhole()
    }

    private func signatures(_ copies: [String]) throws -> [String] {
        try copies.map { try String(contentsOfFile: $0 + ".understudy", encoding: .utf8) }
    }

    @Test func `the disk on which a machine ran last is not overwritten by a copy of its old one unasked`() throws {
        let lab = try DiskLab()
        let pair = lab.pair
        try lab.protect()
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try lab.expectKnownBlocks("taken over")
        // The guest ends there, and with it its record; somebody starts the old image anew.
        Glibc.kill(pair.activePID, SIGKILL)
        try pair.wait(seconds: 60, for: "the end of the record") { (try? pair.record()) == .some(nil) }
        try pair.reboot(.first)
        try pair.startGuestAnew()
        let newest = try Data(contentsOf: URL(fileURLWithPath: lab.copies[1]))
        let refused = protect(pair, paths: [:])
        #expect(refused?.message.contains("newest disk") == true, "\(String(describing: refused))")
        #expect(try Data(contentsOf: URL(fileURLWithPath: lab.copies[1])) == newest)
        #expect(protect(pair, paths: [:], overwrite: true) == nil)
        #expect(try Data(contentsOf: URL(fileURLWithPath: lab.copies[1])) != newest)
    }

    /// What the daemon says against protection with these wishes for the copies; nil when it protects.
    private func protect(_ pair: ProtectedLab, paths: [String: String], overwrite: Bool = false) -> HostAPIError? {
        var request = ProtectRequest(name: ProtectedLab.machine, qmp: pair.guest.qmp, backup: "host2", intervalMilliseconds: 25)
        request.diskPaths = paths
        request.overwriteDisks = overwrite
        do throws(HostAPIError) {
            _ = try pair.daemons.first.perform(.protect(request))
            return nil
        } catch { return error }
    }

    @Test func `a copy goes where the operator says, and never over something else unasked`() throws {
        let lab = try DiskLab()
        let pair = lab.pair
        let place = "\(pair.lab.host2.folder)/mine.raw"
        try Data(repeating: 1, count: 100).write(to: URL(fileURLWithPath: place))
        let machine = try MachineDisks(pair.guest.qmp)
        let refused = protect(pair, paths: [machine.names[0]: place])
        #expect(refused?.message.contains("--overwrite") == true, "\(String(describing: refused))")
        #expect(try Data(contentsOf: URL(fileURLWithPath: place)).count == 100)
        let unknown = protect(pair, paths: ["nothing": place])
        #expect(unknown?.message.contains("has no writable disk nothing") == true, "\(String(describing: unknown))")
        // The image of a running guest, which both hosts of this laboratory see.
        let inUse = protect(pair, paths: [machine.names[0]: lab.journal.path], overwrite: true)
        #expect(inUse?.message.contains("in use") == true, "\(String(describing: inUse))")
        #expect(protect(pair, paths: [machine.names[0]: place], overwrite: true) == nil)
        #expect(pair.status(.first)?.disks?.first?.copy == place)
        try lab.expectKnownBlocks("protected")
    }
}

/// The names of a running QEMU's writable disks.
private struct MachineDisks {
    let names: [String]

    init(_ qmp: String) throws {
        let monitor = try QMPClient(socketPath: qmp)
        defer { monitor.close() }
        names = (try monitor.execute("query-block").array ?? []).compactMap { drive in
            guard let path = drive["qdev"]?.string?.split(separator: "/"), path.count > 2 else { return drive["device"]?.string }
            return drive["device"]?.string.flatMap { $0.isEmpty ? nil : $0 } ?? String(path[2])
        }
    }
}
