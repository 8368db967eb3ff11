import Foundation
import Glibc
import Testing
import UnderstudyCore

@testable import GuestMemory

@Suite(.serialized, .enabled(if: canTrack, "needs root and x86-64"))
struct InjectionTests {
    /// Starts the helper, lets it stop at a step and kills it there.
    static func killHelper(atStep step: Int, target: Int32, arguments: [String] = []) throws {
        let helper = try Child(
            Child.helper, ["\(target)"] + arguments, environment: ["UNDERSTUDY_INJECT_PAUSE_AT": "\(step)"], errors: true)
        try wait(for: "the helper to stop at step \(step)") { helper.state == "T" }
        usleep(20_000)  // a stop of the traced thread that nobody collects is to happen in this time
        kill(helper.pid, SIGKILL)
        helper.process.waitUntilExit()
    }

    @Test(arguments: 1...12)
    func aHelperKilledAtAnyStepLeavesTheProcessRunning(_ step: Int) throws {
        let victim = try Victim(.anonymous)
        try InjectionTests.killHelper(atStep: step, target: victim.pid)
        try victim.tell("touch 0 10")
        let left = try userfaultfds(of: victim.pid).count
        #expect(left == (step < 5 ? 0 : 1), "the killed helper had come as far as its step says")
        let tracker = try victim.tracker()
        #expect(try userfaultfds(of: victim.pid).count == 1, "what the killed one left is adopted")
        #expect(try tracker.scan(into: PageRunList(covering: victim.blocks)) == 10)
        try InjectionTests.killHelper(
            atStep: step, target: victim.pid, arguments: ["close", try #require(userfaultfds(of: victim.pid).first)])
        try victim.tell("touch 0 10")
        try tracker.stop()
    }

    @Test func theInterruptedPollGoesOnAsIfNothingHadBeen() throws {
        let victim = try Victim(.anonymous)
        var before = ""
        try wait(for: "the victim to be in ppoll") {
            before = try ProcFile.read("/proc/\(victim.pid)/syscall")
            return before.hasPrefix("271 ")
        }
        for _ in 0..<20 {
            let number = try Injector(helperPath: Child.helper).openUserfaultfd(in: victim.pid)
            try Injector(helperPath: Child.helper).closeUserfaultfd(number, in: victim.pid)
        }
        try wait(for: "the victim to be in ppoll again") { try ProcFile.read("/proc/\(victim.pid)/syscall") == before }
        #expect(try userfaultfds(of: victim.pid).isEmpty)
    }

    @Test func aBusyMainThreadIsInjectedBetweenItsCommands() throws {
        let victim = try Victim(.anonymous)
        try victim.tell("write-on")
        for _ in 0..<10 { try victim.child.send("touch 0 2048") }
        let tracker = try victim.tracker()
        for _ in 0..<10 { #expect(try victim.child.line() == "ok") }
        try victim.tell("write-off")
        try tracker.stop()
    }

    @Test func aMainThreadThatNeverPollsIsLeftAlone() throws {
        let victim = try Victim(.anonymous)
        try victim.child.send("sleep 7")
        try wait(for: "the victim to sleep") { try ProcFile.read("/proc/\(victim.pid)/syscall").hasPrefix("230 ") }
        let helper = try Child(Child.helper, ["\(victim.pid)"], errors: true)
        #expect(try helper.line().contains("did not enter ppoll"))
        helper.process.waitUntilExit()
        #expect(helper.process.terminationStatus == 75)
        #expect(try victim.child.line() == "ok", "its sleep was not cut short")
        #expect(try userfaultfds(of: victim.pid).isEmpty)
    }

    @Test func aStoppedProcessIsRefusedAndStaysStopped() throws {
        let victim = try Victim(.anonymous)
        try victim.child.freeze()
        do {
            _ = try victim.tracker()
            Issue.record("injected into a stopped process")
        } catch let error as GuestMemoryError {
            #expect(error.code == .injectionFailed)
            #expect(error.message.contains("continue it first"), "\(error)")
        }
        #expect(victim.child.state == "T")
        victim.child.thaw()
        try victim.tell("touch 0 1")
    }

    @Test func onlyAUserfaultfdIsEverClosed() throws {
        let victim = try Victim(.anonymous)
        #expect(throws: GuestMemoryError.self) { try Injector(helperPath: Child.helper).closeUserfaultfd(0, in: victim.pid) }
        try victim.tell("touch 0 1")
    }

    @Test(arguments: [[], ["0"], ["x"], ["12", "open", "3"], ["12", "close", "-1"], ["12", "close", "x"]])
    func wrongUsageIsSaid(_ arguments: [String]) throws {
        let helper = try Child(Child.helper, arguments, errors: true)
        #expect(try helper.line().hasPrefix("usage:"))
        helper.process.waitUntilExit()
        #expect(helper.process.terminationStatus == 64)
    }
}
