import Glibc
import LinuxShim
import QMP
import Testing

@testable import Hypervisor

@Suite(.serialized, .enabled(if: TestMachine.isAvailable, "needs root and qemu-system-x86_64"))
struct SaveGateTests {
    private func withGate(_ more: [String] = [], prefix: [String] = [], _ body: (TestMachine, QMPClient, SaveGate) throws -> Void) throws {
        let machine = try TestMachine(["-device", "VGA"] + more, prefix: prefix)
        let qmp = try machine.connect()
        try body(machine, qmp, try SaveGate(qmp: qmp))
        machine.kill()
    }

    private func status(_ qmp: QMPClient) throws -> String? { try qmp.execute("query-status")["status"]?.string }

    private func withArena<Value>(_ size: Int = 4 << 20, _ body: (UnsafeMutableRawBufferPointer) throws -> Value) rethrows -> Value {
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
        defer { arena.deallocate() }
        return try body(arena)
    }

    @Test func aHundredSavesEachGiveAWholeStateAndLeaveTheGuestRunning() throws {
        try withGate { _, qmp, gate in
            try withArena { arena in
                var sizes: Set<Int> = []
                var cuts: [Duration] = [], totals: [Duration] = [], pauses: [Int64] = []
                for _ in 0..<100 {
                    let start = ContinuousClock.now
                    try gate.begin()
                    #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
                    cuts.append(start.duration(to: .now))
                    let state = try gate.drain(into: arena, timeout: .seconds(60))
                    totals.append(start.duration(to: .now))
                    sizes.insert(state.byteCount)
                    #expect(state.byteCount > 10_000)
                    #expect(arena[..<4].elementsEqual("QEVM".utf8))
                    #expect(arena[state.byteCount - 1] == 0, "QEMU ends the state with an end-of-file section")
                    pauses.append(try #require(state.pauseMicroseconds))
                    let names = try gate.takeEvents().map(\.name).filter { $0 == "STOP" || $0 == "RESUME" }
                    #expect(names == ["STOP", "RESUME"])
                    usleep(5_000)
                }
                #expect(try status(qmp) == "running")
                #expect(gate.status == .running)
                print(
                    "gated save: cut p50 \(cuts.sorted()[50]), total p50 \(totals.sorted()[50]), pause p50 \(pauses.sorted()[50]) us, \(sizes) bytes"
                )
            }
        }
    }

    @Test func theGuestStaysStoppedUntilTheGateIsDrained() throws {
        try withGate { _, qmp, gate in
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            usleep(300_000)
            let events = try gate.takeEvents().map(\.name)
            #expect(events.contains("STOP") && !events.contains("RESUME"))
            try withArena { arena in
                let state = try gate.drain(into: arena, timeout: .seconds(60))
                #expect(try #require(state.pauseMicroseconds) >= 300_000)
            }
            #expect(try status(qmp) == "running")
        }
    }

    @Test func aSaveThatHoldsLeavesTheGuestStoppedUntilItsCallerLetsItRun() throws {
        try withGate { _, qmp, gate in
            try withArena { arena in
                for _ in 0..<3 {
                    try gate.begin(holding: true)
                    #expect(try gate.waitForCut(timeout: .seconds(10)) == .cut)
                    let state = try gate.drain(into: arena, timeout: .seconds(10))
                    #expect(state.byteCount > 10_000 && arena[..<4].elementsEqual("QEVM".utf8))
                    #expect(state.stoppedAtMicroseconds != nil && state.resumedAtMicroseconds == nil)
                    #expect(try gate.takeEvents().map(\.name) == ["STOP"])
                    #expect(try status(qmp) == "paused")
                    try qmp.execute("cont")
                    try gate.begin()
                    #expect(try gate.waitForCut(timeout: .seconds(10)) == .cut)
                    _ = try gate.drain(into: arena, timeout: .seconds(10))
                    #expect(try status(qmp) == "running")
                    _ = try gate.takeEvents()
                }
            }
        }
    }

    @Test func aSaveThatHoldsAndComesToNothingLetsTheGuestRun() throws {
        try withGate { _, qmp, gate in
            try gate.begin(holding: true)
            #expect(try gate.waitForCut(timeout: .seconds(10)) == .cut)
            gate.abandon()
            try gate.renew()
            #expect(try status(qmp) == "running")
            try gate.begin(holding: true)
            #expect(try gate.waitForCut(timeout: .seconds(10)) == .cut)
            withArena(8192) { arena in
                _ = #expect(throws: HypervisorError.self) { try gate.drain(into: arena, timeout: .seconds(10)) }
            }
            try gate.renew()
            #expect(try status(qmp) == "running")
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(10)) == .cut)
            try gate.renew()
        }
    }

    @Test func anAbandonedGateLetsTheGuestRunAndARenewedOneStartsClean() throws {
        try withGate { _, qmp, gate in
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            gate.abandon()
            #expect(gate.needsRenewal && gate.descriptor == -1)
            #expect(throws: HypervisorError.self) { try gate.begin() }
            try gate.renew()
            #expect(try status(qmp) == "running")
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            try withArena { arena in
                _ = try gate.drain(into: arena, timeout: .seconds(60))
                #expect(arena[..<4].elementsEqual("QEVM".utf8))
            }
        }
    }

    @Test func manyRenewalsLeakNoDescriptorHere() throws {
        try withGate { _, _, gate in
            let before = try ProcessFile.names(in: "/proc/self/fd").count
            for _ in 0..<10 {
                try gate.begin()
                #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
                try gate.renew()
            }
            #expect(try ProcessFile.names(in: "/proc/self/fd").count <= before + 2)
        }
    }

    @Test func aGateThatIsGoneBeforeTheSaveDoesNotStopTheGuest() throws {
        try withGate { _, qmp, gate in
            try gate.begin()
            gate.abandon()
            try gate.renew()
            #expect(try status(qmp) == "running")
        }
    }

    @Test func aRefusedSaveIsReportedWithQEMUsReason() throws {
        try withGate { _, qmp, gate in
            // Another client removes QEMU's end: the path is gone.
            let set = try #require(try qmp.execute("query-fdsets")[0]?["fdset-id"]?.int)
            try qmp.execute("remove-fd", arguments: ["fdset-id": .int(Int64(set))])
            try gate.begin()
            guard case .refused(let reason) = try gate.waitForCut(timeout: .seconds(60)) else {
                Issue.record("the save was not refused")
                return
            }
            #expect(!reason.isEmpty)
            try gate.renew()
            #expect(try status(qmp) == "running")
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            try gate.renew()
        }
    }

    @Test func anArenaTooSmallIsAnErrorAndTheGuestRunsOn() throws {
        try withGate { _, qmp, gate in
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            withArena(8192) { arena in
                let error = #expect(throws: HypervisorError.self) { try gate.drain(into: arena, timeout: .seconds(60)) }
                #expect(error?.code == .stateTooLarge)
            }
            try gate.renew()
            #expect(try status(qmp) == "running")
        }
    }

    @Test func aPausedGuestIsNotSaved() throws {
        try withGate { _, qmp, gate in
            try qmp.execute("stop")
            let error = #expect(throws: HypervisorError.self) { try gate.begin() }
            #expect(error?.code == .notRunning)
            #expect(gate.status == .paused)
            try qmp.execute("cont")
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            try gate.renew()
        }
    }

    @Test func aSaveIsGoodWhenAnotherClientStopsTheGuestRightAfterIt() throws {
        try withGate(["-qmp", "unix:/tmp/understudy-hypervisor-second-\(getpid()),server=on,wait=off"]) { machine, qmp, gate in
            let path = "/tmp/understudy-hypervisor-second-\(getpid())"
            defer { unlink(path) }
            let other = try machine.connect(path)
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            try other.send("stop")
            usleep(50_000)
            try withArena { arena in _ = try gate.drain(into: arena, timeout: .seconds(60)) }
            while case .event = try other.receive(timeout: .seconds(60)) {}
            _ = try gate.takeEvents()
            #expect((#expect(throws: HypervisorError.self) { try gate.begin() })?.code == .notRunning)
        }
    }

    @Test func aKilledQEMUIsSeenInMidSave() throws {
        try withGate { machine, _, gate in
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            machine.kill()
            withArena { arena in
                let error = #expect(throws: HypervisorError.self) { try gate.drain(into: arena, timeout: .seconds(60)) }
                #expect(error?.code == .qemuGone)
            }
        }
    }

    @Test func aFrozenQEMUIsATimeoutAndLetsGoWhenItWakes() throws {
        try withGate { machine, qmp, gate in
            machine.signal(SIGSTOP)
            try gate.begin()
            let error = #expect(throws: HypervisorError.self) { try gate.waitForCut(timeout: .milliseconds(300)) }
            #expect(error?.code == .timeout)
            gate.abandon()
            #expect(throws: HypervisorError.self) { try gate.renew(timeout: .milliseconds(100)) }
            machine.signal(SIGCONT)
            try gate.renew()
            #expect(try status(qmp) == "running")
        }
    }

    @Test func aDeadDaemonCannotLeaveTheGuestStopped() throws {
        let second = "/tmp/understudy-hypervisor-watch-\(getpid())"
        defer { unlink(second) }
        let machine = try TestMachine(["-qmp", "unix:\(second),server=on,wait=off"])
        try {
            let gate = try SaveGate(qmp: try machine.connect())
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
        }()
        // Socket and pipe are closed now, as by a process that died.
        let other = try machine.connect(second)
        #expect(try status(other) == "running")
        machine.kill()
    }

    private static let otherUser = ["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]

    @Test(arguments: [(otherUser, [String]()), ([], TestMachine.becomeNobody)])
    func aQEMUOfAnotherUserOpensTheGate(prefix: [String], more: [String]) throws {
        try withGate(more, prefix: prefix) { machine, qmp, gate in
            #expect(try ProcessDescription(readingProcess: machine.process).userID == 65534)
            for _ in 0..<3 {
                try gate.begin()
                #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
                try withArena { arena in _ = try gate.drain(into: arena, timeout: .seconds(60)) }
            }
            try gate.renew()
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            try gate.renew()
            #expect(try status(qmp) == "running")
        }
    }

    @Test func aQEMUOfAnotherUserCannotOpenAPipeThatIsRoots() throws {
        try withGate(prefix: Self.otherUser) { _, qmp, _ in
            let pipe = try GatePipe(qmp: qmp, owner: (0, 0), timeout: .seconds(60))
            #expect(throws: QMPError.self) {
                try qmp.execute("xen-save-devices-state", arguments: ["filename": .string(pipe.path), "live": false])
            }
        }
    }

    @Test func eventsBeforeTheEndAreHandedOutBeforeTheError() throws {
        try withGate { machine, qmp, gate in
            try qmp.execute("quit")
            var names: [String] = []
            let error = #expect(throws: HypervisorError.self) {
                for _ in 0..<1000 {
                    names += try gate.takeEvents().map(\.name)
                    usleep(10_000)
                }
            }
            #expect(error?.code == .qemuGone)
            #expect(names.contains("SHUTDOWN"))
        }
    }
}
