import Foundation
import Glibc
import Testing
import UnderstudyCore

@testable import GuestMemory

@Suite(.serialized, .enabled(if: canTrack, "needs root and x86-64"))
struct FailureTests {
    private func code(_ work: () throws -> Void) -> GuestMemoryError.Code? {
        do { try work() } catch let error as GuestMemoryError { return error.code } catch { return nil }
        return nil
    }

    @Test func memoryMappedAnewIsAnErrorAndNotAnEmptySet() throws {
        let victim = try Victim(.anonymous)
        let tracker = try victim.tracker()
        let runs = PageRunList(covering: victim.blocks)
        _ = try tracker.scan(into: runs)
        try victim.tell("remap 512 512")
        #expect(code { _ = try tracker.scan(into: runs) } == .invalidBlock)
    }

    @Test func aProcessThatEndedIsAnErrorAndNotAnEmptySet() throws {
        let victim = try Victim(.anonymous)
        try victim.tell("touch 0 100")
        let tracker = try victim.tracker()
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: 2)
        let replica = try Replica(of: victim.blocks[0])
        let runs = PageRunList(covering: victim.blocks)
        kill(victim.pid, SIGKILL)
        victim.child.process.waitUntilExit()
        #expect(code { _ = try tracker.scan(into: runs) } == .processGone)
        runs.removeAll()
        runs.append(PageRun(block: 0, firstPage: 0, count: 2048))
        #expect(code { try copier.copy(runs: runs.runs, into: replica.arena) } == .processGone)
        #expect(code { _ = try victim.tracker() } == .processGone)
        try tracker.stop()
    }

    @Test func memoryHeldByAnotherUserfaultfdIsRefusedAndLeftAlone() throws {
        let victim = try Victim(.anonymous)
        try victim.tell("foreign")
        #expect(code { _ = try victim.tracker() } == .alreadyTracked)
        let foreign = try ProcFile.read("/proc/\(victim.pid)/smaps")
        #expect(foreign.contains(" um"), "the other registration is still there")
    }

    @Test(arguments: [1, 2, 3])
    func anUnreadablePageIsNamed(_ threads: Int) throws {
        let victim = try Victim(.anonymous)
        try victim.tell("touch 0 2048")
        try victim.tell("forbid 1501 1")
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: threads)
        let replica = try Replica(of: victim.blocks[0])
        let runs = PageRunList(covering: victim.blocks)
        runs.append(PageRun(block: 0, firstPage: 1, count: 2000))
        do {
            try copier.copy(runs: runs.runs, into: replica.arena)
            Issue.record("copied a forbidden page")
        } catch {
            #expect(error.code == .unreadablePage)
            #expect(error.message.contains("page 1501 of RAM block \"pc.ram\""), "\(error)")
        }
    }

    @Test func blocksThatAreNotWhatTheySayAreRefused() throws {
        let victim = try Victim(.anonymous)
        let good = victim.blocks[0]
        var tooLong = good, crooked = good, wrapped = good
        tooLong.usedLength += 64 << 20
        crooked.hostAddress += 1
        wrapped.hostAddress = UInt64.max - 4095
        for block in [tooLong, crooked, wrapped] {
            #expect(code { _ = try DirtyTracker(pid: victim.pid, blocks: [block], helperPath: Child.helper) } == .invalidBlock)
        }
        #expect(try userfaultfds(of: victim.pid).isEmpty, "refused before anything was touched")
    }

    @Test func runsOutsideTheirBlockAndListsTooSmallAreRefused() throws {
        let victim = try Victim(.anonymous)
        let tracker = try victim.tracker()
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: 1)
        let replica = try Replica(of: victim.blocks[0])
        #expect(code { _ = try tracker.scan(into: PageRunList(capacity: 1023)) } == .invalidArgument)
        for run in [
            PageRun(block: 1, firstPage: 0, count: 1), PageRun(block: 0, firstPage: 2048, count: 1),
            PageRun(block: 0, firstPage: .max, count: .max),
        ] {
            let runs = PageRunList(capacity: 1)
            runs.append(run)
            #expect(code { try copier.copy(runs: runs.runs, into: replica.arena) } == .invalidArgument)
        }
        #expect(code { _ = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: 0) } == .invalidArgument)
    }

    @Test func aMissingHelperIsNamed() throws {
        let victim = try Victim(.anonymous)
        do {
            _ = try DirtyTracker(pid: victim.pid, blocks: victim.blocks, helperPath: "/nonexistent/understudy-inject")
            Issue.record("no helper, yet it works")
        } catch {
            #expect(error.code == .injectionFailed)
            #expect(error.message.contains("/nonexistent/understudy-inject"))
        }
    }

    @Test(arguments: [1, 2, 3, 5])
    func everyNumberOfThreadsCopiesTheSame(_ threads: Int) throws {
        let victim = try Victim("file", pages: 8192)
        let copier = try PageCopier(pid: victim.pid, blocks: victim.blocks, threads: threads)
        let reader = try MemoryReader(pid: victim.pid, blocks: victim.blocks)
        let replica = try Replica(of: victim.blocks[0])
        let runs = PageRunList(covering: victim.blocks)
        var page: UInt32 = 0
        while page < 8100 {  // more pieces than one call takes, some of several pages
            let count = page % 7 == 0 ? page % 40 + 1 : 1
            runs.append(PageRun(block: 0, firstPage: page, count: count))
            page += count + 1
        }
        #expect(runs.count > 1024)
        try copier.copy(runs: runs.runs, into: replica.arena)
        var expected = [UInt8](repeating: 0, count: 64 * 4096)
        var offset = 0
        for run in runs.runs {
            let bytes = Int(run.count) * 4096
            try expected.withUnsafeMutableBytes {
                try reader.read(block: 0, offset: UInt64(run.firstPage) * 4096, into: .init(rebasing: $0[..<bytes]))
            }
            #expect(expected.withUnsafeBytes { memcmp($0.baseAddress!, replica.arena + offset, bytes) } == 0)
            offset += bytes
        }
    }
}
