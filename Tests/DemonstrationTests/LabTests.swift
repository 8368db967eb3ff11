import Glibc
import Testing

@testable import Demonstration

/// Whether this machine can make a lab at all.
let canMakeLabs = geteuid() == 0 && LabSystem.hasProgram("ip")
/// Whether the guest was made and QEMU is there.
let canRunGuest = canMakeLabs && LabSystem.hasProgram("qemu-system-x86_64") && (try? GuestImage.cached()) != nil

/// Makes a lab in a state folder of its own, hands it over, and removes both whatever happens.
func withLab(_ body: (Lab) throws -> Void) throws {
    let stateFolder = "/tmp/understudy-demo-tests-\(UInt32.random(in: 0...UInt32.max))"
    let lab = try Lab.create(stateFolder: stateFolder, prefix: "us-demo-test")
    defer {
        unlink(stateFolder + "/lock")
        rmdir(stateFolder)
    }
    do {
        try body(lab)
    } catch {
        try lab.destroy()
        throw error
    }
    try lab.destroy()
    #expect(leftovers(of: lab).isEmpty)
    #expect(try LabFiles.names(in: stateFolder) == ["lock"])
}

/// What is left of a lab: namespaces.
func leftovers(of lab: Lab) -> [String] {
    lab.hosts.map(\.namespace).filter { access("/run/netns/\($0)", F_OK) == 0 }
}

@Suite(.serialized, .enabled(if: canMakeLabs, "needs root and iproute2")) struct LabTests {
    @Test func `the networks connect exactly what they should, and nothing is left`() throws {
        try withLab { lab in
            let reached = [
                try answers(to: lab.host1, at: LabAddresses.host2Replication), try answers(to: lab.host1, at: LabAddresses.arbiter),
                try answers(to: lab.host2, at: LabAddresses.arbiter), try answers(to: lab.client, at: LabAddresses.arbiter),
            ]
            #expect(reached == [true, true, true, false])
        }
    }

    @Test func `processes run in their namespace under their own identifier and end with the lab`() throws {
        var process: LabProcess?
        try withLab { lab in
            let sleeper = try lab.host2.spawn(
                ["sh", "-c", "trap '' TERM; sleep 1000 & wait"], environment: ["UNDERSTUDY_TEST": "1"], log: "sleep.log")
            process = sleeper
            try waitFor { LabFiles.text(of: "/proc/\(sleeper.pid)/comm") == "sh\n" }
            #expect(sleeper.isRunning)
            let descriptors = try LabFiles.names(in: "/proc/\(sleeper.pid)/fd").compactMap { Int($0) }
            #expect(descriptors.filter { $0 < 10 }.sorted() == [0, 1, 2])
        }
        #expect(process?.isRunning == false)
    }

    @Test func `a second lab in the same state folder is refused while the first one lives`() throws {
        let stateFolder = "/tmp/understudy-demo-tests-\(UInt32.random(in: 0...UInt32.max))"
        let lab = try Lab.create(stateFolder: stateFolder, prefix: "us-demo-test")
        #expect { _ = try Lab.create(stateFolder: stateFolder, prefix: "us-demo-test") } throws: {
            ($0 as? DemonstrationError)?.code == .alreadyRunning
        }
        try lab.destroy()
        try Lab.create(stateFolder: stateFolder, prefix: "us-demo-test").destroy()
        unlink(stateFolder + "/lock")
        rmdir(stateFolder)
    }

    @Test func `the guard removes the lab of a demo that was killed`() throws {
        let stateFolder = "/tmp/understudy-demo-tests-\(UInt32.random(in: 0...UInt32.max))"
        let lab = try Lab.create(stateFolder: stateFolder, prefix: "us-demo-test")
        let sleeper = try lab.host1.spawn(["sleep", "1000"], log: "sleep.log")
        lab.guardian.abandon()
        try waitFor { try LabFiles.names(in: stateFolder).allSatisfy { !$0.hasPrefix("run-") || $0.hasSuffix(".log") } }
        #expect(leftovers(of: lab).isEmpty)
        #expect(!sleeper.isRunning)
        try removeFolder(stateFolder)
    }

    @Test func `a lab that a dead run left is removed by the next start`() throws {
        let stateFolder = "/tmp/understudy-demo-tests-\(UInt32.random(in: 0...UInt32.max))"
        let stale = "us-demo-test-stale-\(getpid())"
        try LabFiles.makeFolder(stateFolder + "/run-stale")
        try LabFiles.write(stale + "\n", to: stateFolder + "/run-stale/namespaces")
        try IPCommand.run(["netns add \(stale)"], folder: stateFolder + "/run-stale")
        let sleeper = try LabHost(name: "stale", namespace: stale, folder: stateFolder).spawn(["sleep", "1000"], log: "sleep.log")
        let lab = try Lab.create(stateFolder: stateFolder, prefix: "us-demo-test")
        #expect(access("/run/netns/\(stale)", F_OK) != 0)
        #expect(access(stateFolder + "/run-stale", F_OK) != 0)
        #expect(!sleeper.isRunning)
        try lab.destroy()
        unlink(stateFolder + "/sleep.log")
        try removeFolder(stateFolder)
    }

    @Test func `a dead host sends no FIN and no RST: its peer hears nothing`() throws {
        try withLab { lab in
            let peer = try connectedPair(from: lab.host1, to: lab.host2, address: LabAddresses.host2Replication)
            defer { close(peer.socket) }
            let death = try lab.killHost1(pids: [peer.process.pid])
            #expect(peer.process.wait(milliseconds: 60_000) != nil)
            #expect(!ClientSocket.wait(peer.socket, for: POLLIN, milliseconds: 300))
            for link in [LabAddresses.hostClientLink, LabAddresses.hostReplicationLink, LabAddresses.hostArbiterLink] {
                let state = try lab.host1.spawn(["cat", "/sys/class/net/\(link)/flags"], log: "\(link).flags")
                #expect(state.wait(milliseconds: 60_000) == 0)
                let flags = LabFiles.text(of: state.log).dropFirst(2).split(separator: "\n").first.flatMap { Int($0, radix: 16) }
                #expect(flags.map { $0 & 1 } == 0)
            }
            #expect(death.linksDownAt >= death.startedAt && death.killedAt >= death.linksDownAt)
            print(
                "links down after \((death.linksDownAt - death.startedAt) / 1000) us, killed after",
                (death.killedAt - death.startedAt) / 1000)
        }
    }

    @Test func `a killed process whose links stay up is heard at once (control)`() throws {
        try withLab { lab in
            let peer = try connectedPair(from: lab.host1, to: lab.host2, address: LabAddresses.host2Replication)
            defer { close(peer.socket) }
            peer.process.signal(SIGKILL)
            #expect(ClientSocket.wait(peer.socket, for: POLLIN, milliseconds: 60_000))
        }
    }

    @Test(.enabled(if: LabSystem.hasProgram("etcd"), "needs etcd")) func `the arbiter answers`() throws {
        try withLab { lab in
            let start = MonotonicTime.now()
            let etcd = try lab.startArbiter()
            print("etcd answered after \((MonotonicTime.now() - start) / 1_000_000) ms")
            #expect(etcd.isRunning)
        }
    }
}
