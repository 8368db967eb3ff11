import AllocationCounter
import Benchmark
import Demonstration
import Glibc
import GuestMemory
import Testing
import UnderstudyCore

@testable import HostDaemon
@testable import Hypervisor

/// The byte path allocates nothing per page, on either side: scan, copy, encode, seal, send; receive, stage, verify, apply.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct ExactnessAllocationTests {
    @Test func anEpochOfTenThousandPagesAllocatesAsOftenAsOneOfAThousand() throws {
        let pair = try ExactnessPair(ExactnessGuest.linux(memory: .anonymous, dirtyPages: 0))
        try pair.synchronise()
        let writer = try GuestWriter(pair.machine)
        // Buffers that grow with the largest epoch grow now.
        for _ in 0..<3 { _ = try allocations(of: 12_000, pair, writer) }
        let small = try (0..<10).map { _ in try allocations(of: 1_000, pair, writer) }.sorted()
        let large = try (0..<10).map { _ in try allocations(of: 10_000, pair, writer) }.sorted()
        print("allocations per epoch, all threads: 1,000 pages \(small), 10,000 pages \(large)")
        // The monitor's and the events' own allocations vary by a few from epoch to epoch; 9,000 more pages are 600 more records.
        #expect(large[0] < small[0] + 50)
    }

    private func allocations(of pages: Int, _ pair: ExactnessPair, _ writer: GuestWriter) throws -> UInt64 {
        try writer.dirty(pages)
        let before = allocation_count()
        let cut = try pair.checkpoint()
        #expect(cut.dirtyPages >= pages)
        return allocation_count() - before
    }

    @Test func theCounterSeesAnAllocation() {
        let before = allocation_count()
        var blocks: [[UInt8]] = []
        for size in 1...100 { blocks.append(Array(repeating: UInt8(truncatingIfNeeded: size), count: size * 100)) }
        #expect(allocation_count() - before >= 100, "\(blocks.count)")
    }
}
