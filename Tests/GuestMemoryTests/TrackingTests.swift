import Foundation
import Glibc
import LinuxShim
import Testing
import UnderstudyCore

@testable import GuestMemory

let canTrack = getuid() == 0 && x86
#if arch(x86_64)
    let x86 = true
#else
    let x86 = false
#endif

let freeHugePages: Int = {
    guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8) else { return 0 }
    let line = text.split(separator: "\n").first { $0.hasPrefix("HugePages_Free:") }
    return line.flatMap { Int($0.drop { !$0.isNumber }) } ?? 0
}()

@Suite(.serialized, .enabled(if: canTrack, "needs root and x86-64"))
struct TrackingTests {
    @Test(arguments: Victim.Kind.allCases)
    func aReplicaFedWithDirtyPagesEqualsTheProcessAtEveryStop(_ kind: Victim.Kind) throws {
        let victim = try Victim(kind)
        try victim.tell("touch 100 200")
        let tracker = try victim.tracker()
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: 2)
        let replica = try Replica(of: victim.blocks[0])
        let runs = PageRunList(covering: victim.blocks)
        try victim.tell("write-on")
        var total = 0
        for round in 0..<30 {
            // The first rounds run beside the writer, as the synchronisation does; the others at a stop.
            let isLive = round < 3
            if !isLive { try victim.child.freeze() }
            total += try tracker.scan(into: runs)
            try copier.copy(runs: runs.runs, into: replica.arena)
            replica.apply(runs)
            if !isLive {
                let result = try replica.compare(with: victim)
                #expect(result.isEqual, "round \(round): \(result)")
                #expect(result.comparedBytes == victim.blocks[0].usedLength)
                victim.child.thaw()
            }
            usleep(2000)
        }
        #expect(total > 2048, "the writer wrote")
        try victim.tell("write-off")
        try tracker.stop()
    }

    @Test(arguments: Victim.Kind.allCases)
    func aWithheldPageIsSeenByTheComparison(_ kind: Victim.Kind) throws {
        let victim = try Victim(kind)
        let tracker = try victim.tracker()
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: 1)
        let replica = try Replica(of: victim.blocks[0])
        let runs = PageRunList(covering: victim.blocks)
        for withheld in [nil, 777 as UInt32?] {
            try victim.tell("touch 700 100")
            _ = try tracker.scan(into: runs)
            try copier.copy(runs: runs.runs, into: replica.arena)
            replica.apply(runs, withholding: withheld)
        }
        let result = try replica.compare(with: victim)
        #expect(result.differingPages == 1)
        #expect(result.first == .init(block: "pc.ram", page: 777, offset: 777 * 4096 + 123))
    }

    @Test(arguments: [Victim.Kind.anonymous, .memfd, .memfdPrivate, .file, .filePrivate])
    func aScanReportsExactlyTheWrittenPagesOnce(_ kind: Victim.Kind) throws {
        let victim = try Victim(kind)
        try victim.tell("touch 0 2048")
        let tracker = try victim.tracker()
        let runs = PageRunList(covering: victim.blocks)
        #expect(try tracker.scan(into: runs) == 2048)
        #expect(try tracker.scan(into: runs) == 0)
        for command in ["touch 1 1", "touch 5 3", "touch 2047 1"] { try victim.tell(command) }
        #expect(try tracker.scan(into: runs) == 5)
        let expected = [(1, 1), (5, 3), (2047, 1)].map { PageRun(block: 0, firstPage: $0.0, count: $0.1) }
        #expect(Array(runs.runs) == expected)
        #expect(try tracker.scan(into: runs) == 0)
    }

    @Test(arguments: Victim.Kind.allCases)
    func writesByTheKernelAreSeen(_ kind: Victim.Kind) throws {
        let victim = try Victim(kind)
        try victim.tell("touch 0 2048")
        let tracker = try victim.tracker()
        let runs = PageRunList(covering: victim.blocks)
        _ = try tracker.scan(into: runs)
        try victim.tell("touch 99 5")  // splits a huge page, so that what follows is exact to the page
        _ = try tracker.scan(into: runs)
        try victim.tell("kernel 100 3")
        #expect(try tracker.scan(into: runs) == 3)
        #expect(runs.runs.first == PageRun(block: 0, firstPage: 100, count: 3))
    }

    @Test func theFirstScanOfAnonymousMemoryLeavesOutWhatWasNeverTouched() throws {
        let victim = try Victim(.anonymous)
        try victim.tell("touch 10 4")
        let runs = PageRunList(covering: victim.blocks)
        let tracker = try victim.tracker()
        #expect(try tracker.scan(into: runs) == 4)
        #expect(Array(runs.runs) == [PageRun(block: 0, firstPage: 10, count: 4)])
        #expect(try tracker.scan(into: runs) == 0, "nor do they come later")
    }

    @Test func theFirstScanOfAFileCoversWhatTheProcessNeverMapped() throws {
        let victim = try Victim(.memfd)
        let runs = PageRunList(covering: victim.blocks)
        #expect(try victim.tracker().scan(into: runs) == 2048)
    }

    @Test(arguments: [Victim.Kind.anonymous, .huge], [(512, 3), (512, 1024)])
    func pagesDroppedFromAnonymousMemoryAreReportedOrTheReplicaWouldDiffer(_ kind: Victim.Kind, _ dropped: (Int, Int)) throws {
        let victim = try Victim(kind)
        try victim.tell("touch 0 2048")
        let tracker = try victim.tracker()
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: 1)
        let replica = try Replica(of: victim.blocks[0])
        let runs = PageRunList(covering: victim.blocks)
        for command in ["touch 0 1", "drop \(dropped.0) \(dropped.1)", "touch 3 1"] {
            try victim.tell(command)
            _ = try tracker.scan(into: runs)
            try copier.copy(runs: runs.runs, into: replica.arena)
            replica.apply(runs)
        }
        let result = try replica.compare(with: victim)
        #expect(result.isEqual, "\(result)")
    }

    @Test(.enabled(if: freeHugePages >= 4, "needs 4 free huge pages (sysctl vm.nr_hugepages=4)"))
    func hugePagesAreReportedWholeInUnitsOfFourKibibytes() throws {
        let victim = try Victim("hugetlb", pages: 2048)
        let tracker = try victim.tracker()
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: 1)
        let replica = try Replica(of: victim.blocks[0])
        let runs = PageRunList(covering: victim.blocks)
        for (command, pages) in [("touch 0 2048", 2048), ("touch 600 1", 512), ("kernel 1023 2", 1024)] {
            try victim.tell(command)
            #expect(try tracker.scan(into: runs) == pages)
            try copier.copy(runs: runs.runs, into: replica.arena)
            replica.apply(runs)
            #expect(try replica.compare(with: victim).isEqual)
        }
    }

    @Test func aFullRegionVectorLosesNothing() throws {
        let victim = try Victim(.anonymous)
        try victim.tell("touch 0 2048")
        let tracker = try victim.tracker()
        let runs = PageRunList(covering: victim.blocks)
        _ = try tracker.scan(into: runs)
        try victim.tell("every 1 2")
        let range = try TrackedRange.ranges(of: victim.blocks, in: MemoryMapping.all(of: victim.pid))[0]
        let scanner = try PagemapScanner(pid: victim.pid, capacity: 3)
        runs.removeAll()
        try scanner.scan(range, UNDERSTUDY_SCAN_WRITTEN_AND_REARM, into: runs)
        #expect(runs.count == 1024)
        #expect(runs.runs.enumerated().allSatisfy { $1 == PageRun(block: 0, firstPage: UInt32(2 * $0 + 1), count: 1) })
        #expect(try tracker.scan(into: runs) == 0)
    }

    @Test func aRestartedTrackerAdoptsTheDescriptorAndBeginsAnew() throws {
        let victim = try Victim(.anonymous)
        try victim.tell("touch 0 100")
        let runs = PageRunList(covering: victim.blocks)
        try {
            let first = try victim.tracker()
            _ = try first.scan(into: runs)
            try victim.tell("touch 5 1")
        }()
        let second = try victim.tracker()
        #expect(try userfaultfds(of: victim.pid).count == 1)
        #expect(try second.scan(into: runs) == 100)
        #expect(try second.scan(into: runs) == 0)
        try victim.tell("touch 7 1")
        #expect(try second.scan(into: runs) == 1)
        second.restart()
        #expect(try second.scan(into: runs) == 100)
    }

    @Test func stopLeavesTheProcessAsItWas() throws {
        let victim = try Victim(.anonymous)
        let tracker = try victim.tracker()
        #expect(try isWriteProtected(victim))
        try tracker.stop()
        try tracker.stop()
        #expect(try userfaultfds(of: victim.pid).isEmpty)
        #expect(try !isWriteProtected(victim))
        try victim.tell("touch 0 2048")
        #expect(throws: GuestMemoryError.self) { try tracker.scan(into: PageRunList(covering: victim.blocks)) }
    }

    /// "uw" among the flags: registered with userfaultfd in write-protect mode (proc_pid_smaps(5)).
    private func isWriteProtected(_ victim: Victim) throws -> Bool {
        let text = try ProcFile.read("/proc/\(victim.pid)/smaps")
        let head = String(victim.blocks[0].hostAddress, radix: 16) + "-"
        guard let start = text.range(of: head), let flags = text[start.lowerBound...].range(of: "VmFlags:") else {
            throw Failure("no mapping")
        }
        return text[flags.lowerBound...].prefix { $0 != "\n" }.contains(" uw")
    }
}
