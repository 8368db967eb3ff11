import Glibc
import QMP
import Testing
import UnderstudyCore

@testable import Hypervisor

@Suite(
    .serialized, .enabled(if: PrimaryMachine.isInstalled, "needs qemu-system-x86_64"),
    .enabled(if: PrimaryMachine.guestFolder != nil, "needs UNDERSTUDY_GUEST, a folder with the test guest's vmlinuz and initrd.gz"))
struct StandbyTakeoverTests {
    private static func options(_ guest: String) -> [String] {
        [
            "-accel", "tcg", "-cpu", "max", "-nodefaults", "-vga", "none", "-display", "none", "-m", "256", "-machine", "q35",
            "-serial", "file:FOLDER/serial", "-netdev", "user,id=n0,restrict=on", "-device", "virtio-net-pci,netdev=n0,romfile=",
            "-kernel", "\(guest)/vmlinuz", "-initrd", "\(guest)/initrd.gz", "-append", "console=ttyS0 panic=-1 quiet dirty",
        ]
    }

    private static func lastTick(_ text: String) -> Int {
        text.split(whereSeparator: \.isNewline).compactMap { $0.hasPrefix("tick ") ? Int($0.dropFirst(5)) : nil }.last ?? 0
    }

    /// Feeds a throwaway standby everything that the primary has, and loads `state` in it.
    private func rehearse(
        _ primary: PrimaryMachine, _ memory: MemoryCopy, _ state: [UInt8], name: String, overrides: StandbyOverrides = StandbyOverrides()
    ) throws {
        let throwaway = try primary.launch(.rehearsal, name: name, overrides: overrides)
        defer { throwaway.kill() }
        #expect(try memory.feed(throwaway, everything: true) > 0)
        try state.withUnsafeBytes { try throwaway.rehearse(deviceState: $0, timeout: .seconds(120)) }
    }

    @Test func `a guest goes on in the standby after twelve checkpoints and reboots there`() throws {
        let guest = try #require(PrimaryMachine.guestFolder)
        let primary = try PrimaryMachine(Self.options(guest))
        try primary.wait("the guest") { primary.serial("serial").contains("tick 3") }
        let memory = try MemoryCopy(pid: primary.child.pid, blocks: primary.blocks)
        let standby = try primary.launch(.standby, name: "standby")
        defer { standby.kill() }

        let clock = ContinuousClock()
        var state: [UInt8] = []
        var parts: [String] = []
        var summaries: [DeviceStateSummary] = []
        for epoch in 1...12 {
            state = try primary.checkpoint(resume: epoch < 12) { try memory.read() }
            let began = clock.now
            summaries.append(try DeviceState.summary(of: state))
            let read = clock.now
            let pages = try memory.feed(standby, everything: epoch == 1)
            parts.append("\(pages) pages in \(read.duration(to: clock.now)), state read in \(began.duration(to: read))")
            if epoch == 6 {
                try rehearse(primary, memory, state, name: "rehearsal")
                let broken = #expect(throws: HypervisorError.self) {
                    try rehearse(
                        primary, memory, state, name: "broken", overrides: StandbyOverrides(remove: ["-device virtio-net-pci"]))
                }
                #expect(broken?.message.contains("virtio-net") == true, "\(broken?.message ?? "")")
            }
        }
        #expect(summaries.allSatisfy { $0 == summaries[0] })
        let said = Self.lastTick(primary.serial("serial"))
        primary.child.kill()

        let start = clock.now
        let times = try state.withUnsafeBytes { try standby.activate(deviceState: $0, timeout: .seconds(60)) }
        let loaded = clock.now
        try standby.run(timeout: .seconds(60))
        let running = clock.now
        try standby.announce()
        print("compared and fed:", parts[0], "|", parts[10])
        print(
            "takeover \(start.duration(to: running)): write \(times.write / 1000) us, load \(times.load / 1000) us,",
            "run \(loaded.duration(to: running)); \(summaries[0].sections.count) sections, \(state.count) bytes")

        try primary.wait("the guest's next words in the standby") { Self.lastTick(primary.serial("standby.serial")) > said + 1 }
        #expect(!primary.serial("standby.serial").contains("GUEST-UP"))
        try standby.monitor.execute("system_reset")
        try primary.wait("the reboot in the standby") { primary.serial("standby.serial").contains("GUEST-UP") }
        #expect(standby.exitStatus == nil)
    }
}
