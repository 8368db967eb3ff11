import Testing
import UnderstudyCore

@testable import HostDaemon

@Suite struct DiskStoreTests {
    @Test(arguments: 0..<4) func `the images change by whole committed epochs only`(seed: UInt64) throws {
        var generator = SplitMixNumbers(state: seed)
        let bench = try DiskBench()
        bench.scribble(50, using: &generator)
        bench.mark(0, through: bench.close())
        let copied = bench.model
        try bench.wait("the first copy") { bench.holds(copied) }
        var last = copied
        for epoch in 1...12 as ClosedRange<UInt64> {
            bench.scribble(30, using: &generator)
            let boundary = bench.close()
            let snapshot = bench.model
            // The next epoch's writes are on their way before this one is marked.
            bench.scribble(5, using: &generator)
            bench.mark(epoch, through: boundary)
            _ = try bench.staged(epoch)
            #expect(bench.holds(last))
            bench.store.commit(through: try bench.staged(epoch))
            try bench.wait("epoch \(epoch) in the images") { bench.holds(snapshot) }
            last = snapshot
        }
        #expect(bench.failures.isEmpty)
    }

    @Test func `what was not committed is dropped at the end, and what was is there`() throws {
        var generator = SplitMixNumbers(state: 9)
        let bench = try DiskBench()
        bench.mark(0, through: bench.close())
        bench.scribble(100, using: &generator)
        bench.mark(1, through: bench.close())
        let committed = bench.model
        let entry = try bench.staged(1)
        bench.scribble(100, using: &generator)
        bench.mark(2, through: bench.close())
        _ = try bench.staged(2)
        bench.store.commit(through: entry)
        try bench.store.finish()
        #expect(bench.holds(committed))
        #expect(!bench.holds(bench.model))
    }

    @Test func `a commit beyond the epoch's end would be seen`() throws {
        let bench = try DiskBench()
        bench.mark(0, through: bench.close())
        bench.write([1, 2, 3], at: 100)
        let boundary = bench.close()
        let snapshot = bench.model
        bench.write([4, 5, 6], at: 100)
        bench.mark(1, through: boundary)
        bench.mark(2, through: bench.close())
        _ = try bench.staged(2)
        bench.store.commit(through: boundary + 1)
        try bench.store.finish()
        #expect(!bench.holds(snapshot))
    }

    /// The images are the primary's until the takeover; only what it may not have written is written again.
    @Test(arguments: [false, true]) func `of shared images the last committed epoch is written again`(nextHasCome: Bool) throws {
        let bench = try DiskBench(isShared: true)
        bench.write([9], at: 0)
        bench.mark(0, through: bench.close())
        bench.write([1], at: 1)
        bench.mark(1, through: bench.close())
        bench.store.commit(through: try bench.staged(1))
        bench.write([2], at: 2)
        bench.mark(2, through: bench.close())
        let second = try bench.staged(2)
        bench.store.releaseCommitted()
        bench.store.commit(through: second)
        bench.write([3], at: 3)
        bench.mark(3, through: bench.close())
        _ = try bench.staged(3)
        if nextHasCome { bench.store.releaseCommitted() }
        #expect(try bench.content(0, 4) == [0, 0, 0, 0])
        try bench.finishShared()
        #expect(try bench.content(0, 4) == (nextHasCome ? [0, 0, 0, 0] : [0, 0, 2, 0]))
    }

    @Test func `an epoch larger than the memory waits in a file`() throws {
        var generator = SplitMixNumbers(state: 3)
        let bench = try DiskBench(lengths: [64 << 20], memoryBytes: 4 << 20)
        bench.mark(0, through: bench.close())
        for block in 0..<40 { bench.write([UInt8](repeating: UInt8(block + 1), count: 1 << 20), at: block << 20) }
        bench.scribble(200, using: &generator)
        bench.mark(1, through: bench.close())
        let entry = try bench.staged(1)
        #expect(bench.store.backlog > 40 << 20)
        #expect(bench.holds([[UInt8](repeating: 0, count: 64 << 20)]))
        bench.store.commit(through: entry)
        try bench.store.finish()
        #expect(bench.holds(bench.model))
    }

    @Test func `when memory and file are full the primary gives up within its patience, and no write of the guest hangs`() throws {
        let bench = try DiskBench(lengths: [256 << 20], memoryBytes: 4 << 20, fileBytes: 4 << 20, patience: 200_000_000)
        bench.mark(0, through: bench.close())
        for block in 0..<200 { bench.write([UInt8](repeating: 7, count: 1 << 20), at: block << 20) }
        #expect(bench.queue.failure?.contains("too slowly") == true)
        #expect(bench.failures.count == 1)
    }

    @Test func `a write that QEMU must complete to stop the guest finds room that others do not`() throws {
        let queue = try WriteQueue(byteCount: 64 << 20, patience: 100_000_000) { _ in }
        for _ in 0..<2 { #expect(queue.reserve(16 << 20) != nil) }
        queue.beginStop(within: 60_000_000_000)
        #expect(queue.reserve(16 << 20) != nil && queue.failure == nil)
        queue.endStop()
        // Nobody sends: the next one waits for its patience, and then nobody hangs any more.
        #expect(queue.reserve(1 << 20) != nil)
        #expect(queue.failure?.contains("too slowly") == true)
        queue.stop()
    }

    @Test func `a stop that waits for the link breaks the replication and not the guest`() throws {
        let queue = try WriteQueue(byteCount: 64 << 20, patience: 60_000_000_000) { _ in }
        for _ in 0..<4 {
            queue.beginStop(within: 50_000_000)
            #expect(queue.reserve(16 << 20) != nil)
        }
        #expect(queue.failure == nil)
        #expect(queue.reserve(16 << 20) != nil)
        #expect(queue.failure != nil)
        queue.stop()
    }

    @Test func `two disks never have one file as their copy`() throws {
        let bench = try DiskBench()
        #expect(throws: HostDaemonError.self) {
            try RawImage(path: "\(bench.folder)/../\(bench.folder.split(separator: "/").last!)/disk0", byteCount: 1 << 20)
        }
        let refused = #expect(throws: HostDaemonError.self) {
            try DiskCopy(path: "\(bench.folder)/disk0").demandFree(machine: "m", disk: "d", generation: 1, overwrite: true)
        }
        #expect(refused?.message.contains("in use") == true)
    }
}
