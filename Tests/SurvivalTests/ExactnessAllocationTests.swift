import AllocationCounter
import Benchmark
import Demonstration
import Glibc
import GuestMemory
import HostAPI
import Synchronization
import Testing
import UnderstudyCore

@testable import HostDaemon
@testable import Hypervisor

/// The byte path allocates nothing per page, on either side: scan, copy, encode, pack, seal, send; receive, unpack, stage, verify, apply.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct ExactnessAllocationTests {
    @Test func anEpochOfTenThousandPagesAllocatesAsOftenAsOneOfAThousand() throws {
        let pair = try ExactnessPair(ExactnessGuest.linux(memory: .anonymous, dirtyPages: 0))
        try pair.synchronise()
        let writer = try GuestWriter(pair.machine)
        for mode in CompressionMode.allCases {
            pair.transmission.mode.withLock { $0 = mode }
            // Buffers that grow with the largest epoch grow now.
            for _ in 0..<3 { _ = try allocations(of: 12_000, pair, writer) }
            let before = pair.transmission.status
            let small = try (0..<6).map { _ in try allocations(of: 1_000, pair, writer) }.sorted()
            let large = try (0..<6).map { _ in try allocations(of: 10_000, pair, writer) }.sorted()
            print("allocations per epoch, all threads, \(mode): 1,000 pages \(small), 10,000 pages \(large)")
            // The monitor's and the events' own allocations vary by a few from epoch to epoch; 9,000 more pages are 600 more records.
            #expect(large[0] < small[0] + 50, "\(mode)")
            let after = pair.transmission.status
            let sent = mode == .off ? after.wholePages - before.wholePages : after.deltaPages - before.deltaPages
            #expect(sent > 20_000, "\(mode): the pages were what they should be")
        }
    }

    /// The pages get contents of the test's own on their way, different in a few words each time: the guest never sees them.
    private func allocations(of pages: Int, _ pair: ExactnessPair, _ writer: GuestWriter) throws -> UInt64 {
        try writer.dirty(pages)
        let before = allocation_count()
        let cut = try pair.cut()
        #expect(cut.dirtyPages >= pages)
        let contents = UnsafeMutableRawBufferPointer(rebasing: pair.engine.arena.bytes[..<(cut.dirtyPages * 4096)])
        for offset in stride(from: 0, to: contents.count, by: 8) {
            contents.storeBytes(of: UInt64(offset % 4096) * 0x1_0001, toByteOffset: offset, as: UInt64.self)
        }
        for offset in stride(from: 0, to: contents.count, by: 512) {
            contents.storeBytes(of: pair.epoch &* 0x9e37_79b9 &+ UInt64(offset), toByteOffset: offset, as: UInt64.self)
        }
        try pair.commit(runs: pair.engine.runs.runs, pages: UnsafeRawBufferPointer(contents), deviceStateBytes: cut.deviceStateBytes)
        return allocation_count() - before
    }

    @Test func theCounterSeesAnAllocation() {
        let before = allocation_count()
        var blocks: [[UInt8]] = []
        for size in 1...100 { blocks.append(Array(repeating: UInt8(truncatingIfNeeded: size), count: size * 100)) }
        #expect(allocation_count() - before >= 100, "\(blocks.count)")
    }
}
