import Testing
import UnderstudyCore

@testable import Hypervisor

@Suite(
    .serialized, .enabled(if: PrimaryMachine.isInstalled, "needs qemu-system-x86_64"),
    .enabled(if: NetworkNamespace.isAvailable, "needs root, /dev/net/tun and ip"))
struct RehearsalTapTests {
    private static let options = [
        "-accel", "tcg", "-display", "none", "-m", "32", "-machine", "q35", "-nodefaults", "-vga", "none", "-netdev",
        "tap,id=n0,ifname=understudy0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n0,romfile=",
    ]

    /// What was seen inside the namespace.
    private struct Observation {
        var before: Set<String> = []
        var during: Set<String> = []
        var refusal = ""
    }

    @Test func `a rehearsal opens a throwaway tap with the primary's offloads, which goes with it`() throws {
        var seen = Observation()
        try NetworkNamespace("standby-tap").run { seen = try Self.observe() }
        #expect(seen.before == ["lo", "understudy0"])
        #expect(seen.during.count == 3)
        #expect(seen.during.contains { $0.hasPrefix("usr") })
        // A back end without virtio-net headers shows why it has to be a tap.
        #expect(seen.refusal.contains("vnet_hdr"), "\(seen.refusal)")
    }

    private static func observe() throws -> Observation {
        var seen = Observation()
        let primary = try PrimaryMachine(options)
        let memory = try MemoryCopy(pid: primary.child.pid, blocks: primary.blocks)
        let state = try primary.checkpoint { try memory.read() }
        seen.before = Set(NetworkNamespace.interfaces())

        let throwaway = try primary.launch(.rehearsal, name: "rehearsal")
        defer { throwaway.kill() }
        seen.during = Set(NetworkNamespace.interfaces())
        _ = try memory.feed(throwaway, everything: true)
        try state.withUnsafeBytes { try throwaway.rehearse(deviceState: $0, timeout: .seconds(60)) }
        try primary.wait("the throwaway tap's end") { Set(NetworkNamespace.interfaces()) == seen.before }

        let plain = StandbyOverrides(remove: ["-netdev"], append: ["-netdev", "hubport,id=n0,hubid=0"])
        let other = try primary.launch(.rehearsal, name: "hub", overrides: plain)
        defer { other.kill() }
        _ = try memory.feed(other, everything: true)
        do {
            try state.withUnsafeBytes { try other.rehearse(deviceState: $0, timeout: .seconds(60)) }
        } catch let error as HypervisorError {
            seen.refusal = error.message
        }
        return seen
    }
}
