import Glibc
import Testing
import UnderstudyCore

@testable import GuestMemory

@Suite(.serialized, .enabled(if: canTrack && Machine.exists, "needs root, x86-64 and qemu-system-x86_64"))
struct MachineTests {
    /// Lets the firmware run and compares a replica with the machine's memory, stopped, again and again.
    private func replicateAndCompare(_ machine: Machine, mebibytes: UInt64, stops: Int) throws {
        let blocks = try machine.memory(mebibytes: mebibytes)
        let tracker = try DirtyTracker(pid: machine.pid, blocks: blocks, helperPath: Child.helper)
        let copier = try PageCopier(pid: machine.pid, blocks: blocks, threads: 2)
        let replica = try Replica(of: blocks[0])
        let runs = PageRunList(covering: blocks)
        var dirty: [Int] = []
        for stop in 0..<stops {
            _ = try machine.ask("stop")
            dirty.append(try tracker.scan(into: runs))
            try copier.copy(runs: runs.runs, into: replica.arena)
            replica.apply(runs)
            let reader = try MemoryReader(pid: machine.pid, blocks: blocks)
            let result = try reader.compare(with: MemoryReader(pid: getpid(), blocks: replica.blocks))
            #expect(result.isEqual, "stop \(stop): \(result)")
            // A reset makes the firmware initialise memory again.
            if stop % 3 == 2 { _ = try machine.ask("system_reset") }
            _ = try machine.ask("cont")
            usleep(50_000)
        }
        #expect(dirty.reduce(0, +) > 100, "the firmware wrote: \(dirty)")
        try tracker.stop()
        #expect(try userfaultfds(of: machine.pid).isEmpty)
        #expect(try machine.status() == "running")
    }

    @Test(arguments: [
        [],
        ["-object", "memory-backend-memfd,id=m,size=64M,share=on", "-machine", "memory-backend=m"],
        ["-object", "memory-backend-memfd,id=m,size=64M,share=off", "-machine", "memory-backend=m"],
    ])
    func aReplicaOfARunningQEMUEqualsItAtEveryStop(_ memory: [String]) throws {
        let machine = try Machine(["-accel", "tcg", "-m", "64"] + memory)
        try replicateAndCompare(machine, mebibytes: 64, stops: 8)
    }

    @Test(.enabled(if: Machine.hasKVM, "needs /dev/kvm"))
    func underKVMToo() throws {
        let machine = try Machine(["-accel", "kvm", "-m", "64"])
        try replicateAndCompare(machine, mebibytes: 64, stops: 8)
    }

    /// Without privilege the first userfaultfd call fails: a helper killed then leaves the machine a ppoll that returned EPERM.
    @Test(arguments: [[], ["/usr/bin/setpriv", "--reuid=65534", "--clear-groups"]])
    func theHelperKilledAtAnyStepHarmsNoQEMU(_ launcher: [String]) throws {
        let machine = try Machine(["-accel", "tcg", "-m", "64"], launcher: launcher)
        for step in 1...12 {
            try InjectionTests.killHelper(atStep: step, target: machine.pid)
            #expect(try machine.status() == "running", "after step \(step)")
        }
        let blocks = try machine.memory(mebibytes: 64)
        let tracker = try DirtyTracker(pid: machine.pid, blocks: blocks, helperPath: Child.helper)
        #expect(try tracker.scan(into: PageRunList(covering: blocks)) > 0)
        #expect(try machine.status() == "running")
    }

    @Test func anUnprivilegedQEMUInItsSandboxIsTracked() throws {
        let sandbox = ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
        let nobody = ["/usr/bin/setpriv", "--reuid=65534", "--clear-groups"]
        let machine = try Machine(["-accel", "tcg", "-m", "64"] + sandbox, launcher: nobody)
        let blocks = try machine.memory(mebibytes: 64)
        let tracker = try DirtyTracker(pid: machine.pid, blocks: blocks, helperPath: Child.helper)
        #expect(try tracker.scan(into: PageRunList(covering: blocks)) > 0)
        try tracker.stop()
        #expect(try machine.status() == "running")
    }

    @Test func aDyingQEMUIsAnErrorAndNeverAWrongSet() throws {
        for _ in 0..<5 {
            let machine = try Machine(["-accel", "tcg", "-m", "64", "-S"])
            let blocks = try machine.memory(mebibytes: 64)
            let tracker = try DirtyTracker(pid: machine.pid, blocks: blocks, helperPath: Child.helper)
            let runs = PageRunList(covering: blocks)
            _ = try tracker.scan(into: runs)
            kill(machine.pid, SIGKILL)
            // Nothing writes, so every scan that succeeds must find nothing, until one says that the process is gone.
            var isGone = false
            while !isGone {
                do throws(GuestMemoryError) {
                    let pages = try tracker.scan(into: runs)
                    #expect(pages == 0)
                } catch {
                    #expect(error.code == .processGone, "\(error)")
                    isGone = true
                }
            }
        }
    }
}
