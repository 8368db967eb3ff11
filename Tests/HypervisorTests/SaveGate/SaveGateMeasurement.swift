import Glibc
import QMP
import Testing

@testable import Hypervisor

/// Measures the bare gated save on a Linux guest that dirties memory. The folder holds `vmlinuz` and `initrd.gz`, whose init prints `tick N`.
@Suite(.enabled(if: getenv("UNDERSTUDY_TEST_GUEST") != nil, "UNDERSTUDY_TEST_GUEST names no folder with a guest"))
struct SaveGateMeasurement {
    @Test func aGatedSaveOfALinuxGuest() throws {
        let guest = String(cString: getenv("UNDERSTUDY_TEST_GUEST"))
        let serial = "/tmp/understudy-hypervisor-serial-\(getpid())"
        defer { unlink(serial) }
        let machine = try TestMachine(
            [
                "-cpu", "max", "-vga", "none", "-serial", "file:\(serial)", "-netdev", "user,id=n0,restrict=on", "-device",
                "virtio-net-pci,netdev=n0,romfile=", "-kernel", "\(guest)/vmlinuz", "-initrd", "\(guest)/initrd.gz", "-append",
                "console=ttyS0 panic=-1 quiet dirty",
            ], memory: "256")
        let qmp = try machine.connect()
        let end = ContinuousClock.now.advanced(by: .seconds(120))
        while try !ProcessFile.text(serial).contains("tick 3") {
            guard ContinuousClock.now < end else { throw TestFailure("the guest did not boot") }
            usleep(100_000)
        }
        let gate = try SaveGate(qmp: qmp)
        let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 4096)
        defer { arena.deallocate() }
        var cuts: [Duration] = []
        var totals: [Duration] = []
        var pauses: [Int64] = []
        var size = 0
        for _ in 0..<100 {
            let start = ContinuousClock.now
            try gate.begin()
            #expect(try gate.waitForCut(timeout: .seconds(60)) == .cut)
            cuts.append(start.duration(to: .now))
            let state = try gate.drain(into: arena, timeout: .seconds(60))
            totals.append(start.duration(to: .now))
            pauses.append(try #require(state.pauseMicroseconds))
            size = state.byteCount
            usleep(20_000)
        }
        print("QEMU \(qmp.version): stopped after \(cuts.sorted()[50]), over after \(totals.sorted()[50]) (p95 \(totals.sorted()[95])),")
        print("STOP to RESUME \(pauses.sorted()[50]) us (p95 \(pauses.sorted()[95])), \(size) bytes")
        machine.kill()
    }
}
