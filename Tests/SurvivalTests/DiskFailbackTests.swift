import Demonstration
import HostAPI
import Testing

/// Images that hold most of a disk already become its copy, with guests.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"))
struct DiskFailbackTests {
    @Test func `a former primary takes its own images back, and only what differs is sent`() throws {
        let lab = try DiskLab()
        let pair = lab.pair
        try lab.protect(epochs: 20)
        let names = try #require(pair.status(.first)?.disks?.map(\.name))
        let images = [lab.journal.path, lab.blocks.path]
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try pair.revive(.first)
        try pair.protect(copies: Dictionary(uniqueKeysWithValues: zip(names, images)))
        lab.noteCopies()
        #expect(lab.copies == images)
        lab.expectComparison()
        try pair.awaitEpochs(5)
        try pair.kill(.second)
        let diedAgain = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: diedAgain)
        try lab.expectWhole()
    }

    @Test func `a protection that broke off goes on where its copies were`() throws {
        let lab = try DiskLab(faults: ["host1": "rehearsed:1"])
        let pair = lab.pair
        try pair.startClients()
        pair.beginProtecting()
        try pair.awaitFault(on: pair.lab.host1)
        pair.killFirstDaemon()
        try pair.restart(.first)
        // The new daemon first asks the arbiter what became of the machine.
        try pair.wait(seconds: 60, for: "the end of the recovery") {
            [nil, .ended, .failed, .unprotected].contains(pair.status(.first)?.state)
        }
        try pair.protect()
        lab.noteCopies()
        lab.expectComparison()
        try pair.awaitEpochs(5)
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        try lab.expectWhole()
    }
}
