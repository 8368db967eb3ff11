import Foundation
import Hypervisor
import QMP
import Testing

@testable import HostDaemon

/// At a commit the copy of a disk equals the disk, byte for byte, whatever its format.
@Suite(.serialized, .enabled(if: MirroredMachine.canRun, "needs QEMU and qemu-utils"))
struct DiskExactnessTests {
    static let programs = [MirroredMachine.qemu, ProcessInfo.processInfo.environment["UNDERSTUDY_QEMU_10"]].compactMap { $0 }

    @Test(arguments: ["raw", "qcow2"], programs)
    func `the copy equals the disk at every commit`(format: String, qemu: String) throws {
        var numbers = SplitMixNumbers(state: 20_261_121)
        let machine = try MirroredMachine(qemu: qemu, format: format)
        for block in stride(from: 0, to: 2 << 20, by: 512 << 10) { try machine.io("write -P \(block >> 19 + 1) \(block) 256k") }
        try machine.attach()
        try machine.commit(1)
        #expect(try machine.contents() == machine.copy())
        for epoch in 2...20 as ClosedRange<UInt64> {
            for _ in 0..<Int.random(in: 0...12, using: &numbers) { try machine.io(Self.request(&numbers)) }
            try machine.commit(epoch)
            #expect(try machine.contents() == machine.copy(), "epoch \(epoch) on \(format)")
        }
        // The comparison sees a single write that is not committed.
        try machine.io("write -P 238 4096 512")
        #expect(try machine.contents() != machine.copy())
        #expect(machine.failures.isEmpty)
        #expect(machine.replication.stop(machine.qmp) == nil)
        try machine.io("write -P 1 0 512")
    }

    @Test(.enabled(if: FailingDisk.canRun, "needs nbdkit"))
    func `a write that fails on the primary's own disk is in neither image, and what follows is in both`() throws {
        let disk = FailingDisk()
        let machine = try MirroredMachine(source: disk.serve)
        try machine.io("write -P 1 0 1M")
        try machine.attach()
        try machine.commit(1)
        try disk.fail(true)
        try machine.io("write -P 9 65536 4096")
        try disk.fail(false)
        #expect(try machine.contents()[65536] == 1)
        try machine.io("write -P 3 8192 4096")
        try machine.commit(2)
        #expect(try machine.contents()[8192] == 3)
        #expect(try machine.contents() == machine.copy())
        #expect(machine.failures.isEmpty)
        #expect(machine.replication.stop(machine.qmp) == nil)
    }

    @Test(.enabled(if: FailingDisk.canRun, "needs nbdkit"))
    func `a disk that cannot be read for its first copy ends the protection in words, and nothing hangs on it afterwards`() throws {
        let disk = FailingDisk()
        let machine = try MirroredMachine(source: disk.serve)
        try machine.io("write -P 1 0 1M")
        try disk.fail(true)
        try machine.replication.attach(machine.qmp)
        try machine.wait("QEMU's word") {
            _ = try machine.qmp.execute("query-status")
            for event in machine.qmp.takeEvents() { machine.replication.note(event) }
            return machine.replication.failure != nil
        }
        #expect(machine.replication.failure?.contains("mirror of disk 0 failed") == true)
        #expect(machine.replication.stop(machine.qmp) == nil)
        #expect(try machine.traces().isEmpty)
        try disk.fail(false)
        try machine.io("write -P 2 0 4096")
    }

    private static func request(_ numbers: inout SplitMixNumbers) -> String {
        let sectors = Int.random(in: 1...64, using: &numbers)
        let offset = Int.random(in: 0...Int(MirroredMachine.byteCount) / 512 - sectors, using: &numbers) * 512
        return switch Int.random(in: 0..<8, using: &numbers) {
        case 0: "write -z \(offset) \(sectors * 512)"
        case 1: "write -P 17 65536 4096"
        case 2: "write -f -P \(Int.random(in: 1...255, using: &numbers)) \(offset) \(sectors * 512)"
        case 3: "flush"
        default: "write -P \(Int.random(in: 1...255, using: &numbers)) \(offset) \(sectors * 512)"
        }
    }

    @Test func `a mirror whose server dies is told by QEMU, and the disk goes on`() throws {
        let machine = try MirroredMachine(qemu: MirroredMachine.qemu, format: "qcow2")
        try machine.attach()
        #expect(machine.replication.stop(nil) == nil)
        try machine.io("write -P 5 0 4096")
        try machine.wait("QEMU's word") {
            _ = try machine.qmp.execute("query-status")
            return machine.qmp.takeEvents().contains { DiskMirror.failure(in: $0) != nil }
        }
        try machine.io("write -P 6 4096 4096")
        #expect(try machine.contents()[4096] == 6)
    }
}

/// SplitMix64: the same seed gives the same run.
struct SplitMixNumbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
