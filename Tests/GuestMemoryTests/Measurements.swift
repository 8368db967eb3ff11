import Foundation
import Glibc
import Testing
import UnderstudyCore

@testable import GuestMemory

/// Numbers, not judgements: `UNDERSTUDY_MEASURE=1 swift test -c release -Xswiftc -enable-testing --filter Measurements`.
@Suite(.serialized, .enabled(if: canTrack && ProcessInfo.processInfo.environment["UNDERSTUDY_MEASURE"] != nil, "set UNDERSTUDY_MEASURE=1"))
struct Measurements {
    private func milliseconds(_ repetitions: Int, before: () throws -> Void = {}, _ work: () throws -> Void) throws -> String {
        var times: [Double] = []
        for _ in 0..<repetitions {
            try before()
            let start = ContinuousClock.now
            try work()
            let time = ContinuousClock.now - start
            times.append(Double(time.components.attoseconds) / 1e15 + Double(time.components.seconds) * 1e3)
        }
        times.sort()
        return String(format: "%.3f ms (least %.3f, p90 %.3f)", times[times.count / 2], times[0], times[times.count * 9 / 10])
    }

    @Test func injection() throws {
        let victim = try Victim(.anonymous)
        var number: Int32 = -1
        let injector = Injector(helperPath: Child.helper)
        print(
            "injection, helper process included:",
            try milliseconds(50) {
                if number >= 0 { try injector.closeUserfaultfd(number, in: victim.pid) }
                number = try injector.openUserfaultfd(in: victim.pid)
            }, "for open and close")
        print("whole tracker, 8 MiB, adopting:", try milliseconds(20) { _ = try victim.tracker() })
    }

    @Test(arguments: [Victim.Kind.anonymous, .huge, .memfd]) func scanOfOneGibibyte(_ kind: Victim.Kind) throws {
        let victim = try Victim(kind, pages: 1 << 18)
        try victim.tell("touch 0 262144")
        let tracker = try victim.tracker()
        let runs = PageRunList(covering: victim.blocks)
        print("\(kind) first scan:", try milliseconds(1) { _ = try tracker.scan(into: runs) })
        _ = try tracker.scan(into: runs)
        print("\(kind) scan, nothing written:", try milliseconds(20) { _ = try tracker.scan(into: runs) })
        print(
            "\(kind) scan, 400 pages apart:",
            try milliseconds(20, before: { try victim.tell("every 3 655") }) { _ = try tracker.scan(into: runs) }, runs.pageCount)
        print(
            "\(kind) scan, 10083 pages apart:",
            try milliseconds(20, before: { try victim.tell("every 3 26") }) { _ = try tracker.scan(into: runs) }, runs.pageCount)
    }

    @Test(arguments: [1, 2], [100, 200, 400, 1000, 10000]) func copyOfScatteredPages(_ threads: Int, _ pages: Int) throws {
        let victim = try Victim(.anonymous, pages: 1 << 17)
        try victim.tell("touch 0 131072")
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: threads, parallelThreshold: 0)
        let replica = try Replica(of: victim.blocks[0])
        memset(replica.arena, 1, pages * GuestPage.size)
        let runs = PageRunList(covering: victim.blocks)
        for index in 0..<pages { runs.append(PageRun(block: 0, firstPage: UInt32(index * (131072 / pages)), count: 1)) }
        print(
            "copy of \(pages) scattered pages, \(threads) threads:",
            try milliseconds(30, before: { usleep(5000) }) { try copier.copy(runs: runs.runs, into: replica.arena) })
    }

    @Test func zeroTest() throws {
        let size = 64 << 20
        let memory = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
        defer { memory.deallocate() }
        memset(memory, 0, size)
        var zero = 0
        print(
            "zero test of 64 MiB:",
            try milliseconds(20) {
                for page in stride(from: 0, to: size, by: GuestPage.size) where isZeroPage(memory + page) { zero += 1 }
            }, zero)
    }
}
