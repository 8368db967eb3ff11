import Demonstration
import HostAPI
import Testing

/// A former primary's image, with writes that were never committed, becomes the copy.
@Suite(
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
}
