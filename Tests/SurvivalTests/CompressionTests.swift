import Benchmark
import Demonstration
import Glibc
import GuestMemory
import HostAPI
import Synchronization
import Testing

@testable import HostDaemon
@testable import Hypervisor
@testable import UnderstudyCore

/// Exactness with every way of compressing checkpoints, changed while the guest runs; and two real hosts that change it and take over.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct CompressionTests {
    /// Room for every page, and for so few that most of them are thrown out between two uses.
    @Test(arguments: [nil, 1] as [Int?])
    func theStandbyIsExactWithEveryCompressionAndAcrossItsChanges(referenceMebibytes: Int?) throws {
        let pair = try ExactnessPair(
            ExactnessGuest.linux(memory: .anonymous), compression: .auto, referenceMebibytes: referenceMebibytes)
        try pair.synchronise()
        let comparison = try ExactnessComparison(pair)
        for mode in CompressionMode.allCases + [.delta, .zstd, .off, .lz4] {
            pair.transmission.mode.withLock { $0 = mode }
            let before = pair.transmission.status
            for checkpoint in 1...16 {
                let (_, differences) = try comparison.checkpoint(comparing: checkpoint % 8 == 0)
                #expect(differences.isEmpty, "\(mode), epoch \(pair.epoch): \(differences.count) pages differ, \(differences.prefix(5))")
                usleep(5_000)
            }
            Self.expect(mode, before, pair.transmission.status, hasReferences: referenceMebibytes == nil)
        }
        try ExactnessTakeover.goesOn(pair, rebooting: referenceMebibytes == nil)
    }

    private static func expect(_ mode: CompressionMode, _ before: CompressionStatus, _ after: CompressionStatus, hasReferences: Bool) {
        let ratio = Double(after.wireBytes - before.wireBytes) / Double(after.dirtyBytes - before.dirtyBytes)
        let deltas = after.deltaPages - before.deltaPages
        print("exactness, \(mode): \((ratio * 1000).rounded() / 1000) bytes on the wire per byte changed, \(deltas) deltas")
        if mode == .off {
            #expect(deltas == 0 && after.unchangedPages == before.unchangedPages)
        } else if hasReferences {
            #expect(deltas > 100, "\(mode)")
        }
        #expect((after.lz4Records > before.lz4Records) == (mode == .lz4) || mode == .auto)
        #expect((after.zstdRecords > before.zstdRecords) == (mode == .zstd) || mode == .auto)
    }

    @Test func referencesThatAreOneEpochOldAreSeen() throws {
        let pair = try ExactnessPair(ExactnessGuest.linux(memory: .anonymous), compression: .delta)
        try pair.synchronise()
        let comparison = try ExactnessComparison(pair)
        for _ in 0..<10 { try pair.checkpoint() }
        #expect(try comparison.checkpoint(comparing: true).1.isEmpty)
        let storage = pair.transmission.references.pages.storage
        let old = UnsafeMutableRawBufferPointer.allocate(byteCount: storage.count, alignment: 4096)
        defer { old.deallocate() }
        old.copyMemory(from: UnsafeRawBufferPointer(storage))
        try pair.checkpoint()
        storage.copyMemory(from: UnsafeRawBufferPointer(old))
        usleep(20_000)
        #expect(try !comparison.checkpoint(comparing: true).1.isEmpty, "deltas against the wrong pages went unnoticed")
    }

    @Test func twoHostsChangeTheCompressionAndTakeOver() throws {
        let pair = try ProtectedLab(settings: ProtectedLab.patient + "\ncheckpoint.compression = \"zstd\"\ncheckpoint.reference-mib = 64")
        try pair.startClients()
        try pair.protect()
        for mode in [CompressionMode.zstd, .off, .lz4, .delta, .auto] {
            if mode != .zstd {
                _ = try pair.daemons.first.perform(.set(SetRequest(name: ProtectedLab.machine, compression: mode)))
            }
            let epoch = pair.status(pair.daemons.first)?.epoch ?? 0
            try pair.wait(seconds: 60, for: "20 committed epochs with \(mode)") {
                (pair.status(pair.daemons.first)?.epoch ?? 0) >= epoch + 20
            }
            let status = pair.status(pair.daemons.first)?.compression
            #expect(status?.mode == mode)
            #expect((status?.referenceBytes ?? 0) <= 64 << 20)
        }
        let status = try #require(pair.status(pair.daemons.first)?.compression)
        #expect(status.deltaPages > 0 && status.zstdRecords > 0 && status.lz4Records > 0 && status.wireBytes < status.dirtyBytes)
        try pair.killFirstHost()
        let died = MonotonicTime.now()
        try pair.awaitTakeover()
        try pair.awaitReplies(after: died)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(verdict.json)")
    }
}
