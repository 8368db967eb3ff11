import Glibc
import QMP
import Testing
import UnderstudyCore

@testable import Hypervisor

/// Machines that only run their firmware: they start at once and cost next to nothing.
@Suite(.serialized, .enabled(if: PrimaryMachine.isInstalled, "needs qemu-system-x86_64"))
struct StandbyRehearsalTests {
    private static let small = ["-accel", "tcg", "-display", "none", "-m", "32"]

    static let machines: [[String]] = [
        small + ["-machine", "q35", "-nodefaults", "-vga", "none", "-device", "virtio-net-pci,romfile="],
        small + ["-machine", "pc", "-serial", "file:FOLDER/serial", "-usb", "-device", "usb-tablet", "-vnc", "unix:FOLDER/vnc"],
        small + [
            "-machine", "q35,memory-backend=m", "-object",
            "memory-backend-file,id=m,size=32M,mem-path=FOLDER/ram,share=on", "-device",
            "vmgenid,guid=324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87",
            "-netdev", "user,id=n0,hostfwd=tcp:127.0.0.1:0-:22", "-device", "e1000,netdev=n0", "-smp", "2",
        ],
    ]

    private func rehearse(_ primary: PrimaryMachine, overrides: StandbyOverrides = StandbyOverrides()) throws -> DeviceStateSummary {
        let memory = try MemoryCopy(pid: primary.child.pid, blocks: primary.blocks)
        let state = try primary.checkpoint { try memory.read() }
        let throwaway = try primary.launch(.rehearsal, name: "rehearsal", overrides: overrides)
        defer { throwaway.kill() }
        #expect(try memory.feed(throwaway, everything: true) > 0)
        try state.withUnsafeBytes { try throwaway.rehearse(deviceState: $0, timeout: .seconds(120)) }
        #expect(throwaway.exitStatus == .signal(SIGKILL))
        return try DeviceState.summary(of: state)
    }

    @Test(arguments: machines) func `a rehearsal of the same machine loads its state and leaves nothing`(options: [String]) throws {
        let primary = try PrimaryMachine(options)
        let summary = try rehearse(primary)
        #expect(summary.sections.count > 20)
        #expect(summary.sections.contains { $0.name == "cpu" })
        #expect(try DeviceState.summary(of: primary.checkpoint()) == summary)
        #expect(try primary.qmp.execute("query-status")["status"]?.string == "running")
    }

    @Test func `a damaged state of a real machine gives a list or an error`() throws {
        let primary = try PrimaryMachine(Self.machines[1])
        let state = try primary.checkpoint()
        let whole = try DeviceState.summary(of: state)
        var accepted = 0
        for round in 0..<2000 {
            var bytes = state
            // Every round damages another place; every fourth one also cuts the end off.
            bytes[(round &* 7919) % bytes.count] ^= UInt8(truncatingIfNeeded: 1 + round % 255)
            if round % 4 == 3 { bytes.removeLast(1 + (round &* 104_729) % (bytes.count - 1)) }
            do {
                if try DeviceState.summary(of: bytes) == whole { accepted += 1 }
            } catch {
                #expect(!error.message.isEmpty)
            }
        }
        // Most damage lies in payloads, which only the stream's authentication can see.
        #expect(accepted > 0 && accepted < 2000)
        for length in stride(from: 0, to: state.count, by: 97) {
            #expect(throws: DeviceStateError.self) { try DeviceState.summary(of: Array(state[..<length])) }
        }
    }

    @Test func `a standby without one of the devices fails its rehearsal with QEMU's own words`() throws {
        let primary = try PrimaryMachine(Self.machines[0])
        let error = #expect(throws: HypervisorError.self) {
            try rehearse(primary, overrides: StandbyOverrides(remove: ["-device virtio-net"]))
        }
        #expect(error?.code == .standbyEnded)
        #expect(error?.message.contains("Unknown savevm section") == true, "\(error?.message ?? "")")
        #expect(error?.message.contains("exited with status 1") == true)
    }

    @Test func `a standby of another machine type is refused`() throws {
        let primary = try PrimaryMachine(Self.machines[0])
        let state = try primary.checkpoint()
        let line = try primary.derive(.rehearsal, name: "other")
        let other = try StandbyProcess.launch(line, runtimeFolder: primary.folder, name: "other")
        defer { other.kill() }
        let error = #expect(throws: HypervisorError.self) {
            try other.begin(blocks: primary.blocks, machineType: "pc-q35-2.4")
            try state.withUnsafeBytes { try other.rehearse(deviceState: $0) }
        }
        #expect(error?.message.contains("pc-q35-2.4") == true, "\(error?.message ?? "")")
    }

    @Test func `RAM blocks that the standby lacks are refused`() throws {
        let primary = try PrimaryMachine(Self.machines[0])
        let line = try primary.derive(.rehearsal, name: "blocks")
        let other = try StandbyProcess.launch(line, runtimeFolder: primary.folder, name: "blocks")
        defer { other.kill() }
        let state = try primary.checkpoint()
        let ghost = RAMBlock(name: "ghost.ram", usedLength: 4096, totalLength: 4096, hostAddress: 0)
        let error = #expect(throws: HypervisorError.self) {
            try other.begin(blocks: primary.blocks + [ghost], machineType: primary.machineType)
            try state.withUnsafeBytes { try other.rehearse(deviceState: $0) }
        }
        #expect(error?.message.contains("ghost.ram") == true, "\(error?.message ?? "")")
    }

    @Test func `a QEMU that cannot start is reported with its own words`() throws {
        let primary = try PrimaryMachine(Self.machines[0])
        let error = #expect(throws: HypervisorError.self) {
            try primary.launch(.standby, name: "broken", overrides: StandbyOverrides(append: ["-device", "no-such-device"]))
        }
        #expect(error?.code == .standbyEnded)
        #expect(error?.message.contains("no-such-device") == true)
        let missing = #expect(throws: HypervisorError.self) {
            try primary.launch(.standby, name: "missing", overrides: StandbyOverrides(executable: "/nonexistent/qemu"))
        }
        #expect(missing?.code == .launchFailed)
    }

    @Test func `a QEMU that hangs or dies ends every wait`() throws {
        let primary = try PrimaryMachine(Self.machines[0])
        let state = try primary.checkpoint()
        let frozen = try primary.launch(.standby, name: "frozen")
        defer { frozen.kill() }
        kill(frozen.pid, SIGSTOP)
        let hang = #expect(throws: HypervisorError.self) {
            try state.withUnsafeBytes { try frozen.activate(deviceState: $0, timeout: .milliseconds(300)) }
        }
        #expect(hang?.code == .timeout)
        // A stopped QEMU takes no pages: the stream's buffer fills, and the wait ends.
        let stuck = #expect(throws: HypervisorError.self) {
            try frozen.begin(blocks: primary.blocks, machineType: primary.machineType)
            let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
            defer { page.deallocate() }
            page.initializeMemory(as: UInt8.self, repeating: 1, count: 4096)
            for _ in 0..<10 {
                for offset in stride(from: UInt64(0), to: 4 << 20, by: 4096) {
                    try frozen.append(block: 0, offset: offset, page: UnsafeRawPointer(page))
                }
                try frozen.flush(timeout: .milliseconds(300))
            }
        }
        #expect(stuck?.code == .timeout)
        frozen.kill()
        let dead = #expect(throws: HypervisorError.self) { try frozen.run(timeout: .seconds(5)) }
        #expect(dead?.code == .standbyEnded, "\(dead?.message ?? "")")
        #expect(frozen.exitStatus == .signal(SIGKILL))
    }

    @Test func `a waiting standby ends with its stream, an activated one lives on`() throws {
        let primary = try PrimaryMachine(Self.machines[0])
        let waiting = try primary.launch(.standby, name: "waiting")
        defer { waiting.kill() }
        waiting.detach()
        try primary.wait("the end of the waiting standby") { waiting.exitStatus != nil }
        #expect(waiting.exitStatus == .status(1))

        let memory = try MemoryCopy(pid: primary.child.pid, blocks: primary.blocks)
        let state = try primary.checkpoint(resume: false) { try memory.read() }
        let active = try primary.launch(.standby, name: "active")
        defer { active.kill() }
        #expect(try memory.feed(active, everything: true) > 0)
        try state.withUnsafeBytes { _ = try active.activate(deviceState: $0, timeout: .seconds(120)) }
        #expect(try active.monitor.execute("query-status")["status"]?.string == "paused")
        try active.run(timeout: .seconds(120))
        try active.announce()
        active.detach()
        let another = try QMPClient(socketPath: active.commandLine.qmpSocket, greetingTimeout: .seconds(120))
        #expect(try another.execute("query-status")["status"]?.string == "running")
        #expect(getsid(active.pid) == active.pid)
    }
}
