import Foundation
import Hypervisor
import QMP
import Testing

@testable import HostDaemon

/// A mirror goes while the guest writes, and its QEMU lives on.
///
/// A job that ends at once frees memory that writes under way still use: with a disk of some size QEMU dies of it.
@Suite(.serialized, .enabled(if: MirroredMachine.canRun, "needs QEMU and qemu-utils"))
struct MirrorEndTests {
    /// QEMU's bitmap of the writes under way has a bit for each 64 KiB, and is large enough to be given back to the kernel.
    private static let byteCount: UInt64 = 8 << 30

    private func machine(_ qemu: String, bytesPerSecond: Int = 1 << 20) throws -> MirroredMachine {
        try MirroredMachine(qemu: qemu, byteCount: Self.byteCount, bytesPerSecond: bytesPerSecond)
    }

    private func expectLifeWithoutMirror(_ machine: MirroredMachine) throws {
        try machine.io("aio_flush")
        #expect(try machine.traces().isEmpty)
        #expect(try machine.qmp.execute("query-status")["running"]?.bool == true)
        try machine.io("write -P 1 0 512")
    }

    @Test(arguments: DiskExactnessTests.programs)
    func `a mirror that is in step is taken off while the guest writes`(qemu: String) throws {
        let machine = try machine(qemu)
        try machine.attach()
        try machine.beginWrites(3)
        #expect(machine.replication.stop(machine.qmp) == nil)
        try expectLifeWithoutMirror(machine)
    }

    @Test func `QEMU dies of a mirror that ends at once (negative control)`() throws {
        // What was freed may have become something else meanwhile, or nothing was under way on a busy host: so a few times.
        for _ in 0..<12 {
            let machine = try machine(MirroredMachine.qemu)
            try machine.attach()
            try machine.beginWrites(6)
            _ = try? machine.qmp.execute("block-job-cancel", arguments: ["device": "understudy-mirror-0", "force": true])
            _ = try? machine.io("aio_flush")
            if (try? machine.qmp.execute("query-status")) == nil { return try machine.wait("QEMU's death") { !machine.isAlive } }
        }
        Issue.record("QEMU lived on twelve times: is its mirror mended?")
    }

    @Test(arguments: DiskExactnessTests.programs)
    func `a mirror that still copies is taken off while the guest writes`(qemu: String) throws {
        let machine = try machine(qemu, bytesPerSecond: 8 << 20)
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: machine.image))
        for block in 0..<256 as Range<UInt64> {
            try handle.seek(toOffset: 1 << 30 + block << 20)
            try handle.write(contentsOf: Data(repeating: 1, count: 1 << 20))
        }
        try handle.close()
        try machine.replication.attach(machine.qmp)
        try machine.beginWrites(3)
        #expect(try !machine.replication.progress(machine.qmp).isReady)
        #expect(machine.replication.stop(machine.qmp) == nil)
        try expectLifeWithoutMirror(machine)
    }

    @Test func `a node that QEMU keeps of a mirror is found, and nothing once it is gone`() throws {
        let machine = try MirroredMachine()
        #expect(try DiskMirror.stuckFilters(machine.qmp).isEmpty)
        // QEMU does not let go of it as long as its job is there, whatever that is called.
        try machine.qmp.execute(
            "blockdev-add", arguments: ["driver": "null-co", "node-name": "sink", "size": .unsigned(machine.byteCount)])
        try machine.qmp.execute(
            "blockdev-mirror",
            arguments: [
                "job-id": "foreign", "device": "d0", "target": "sink", "sync": "none", "filter-node-name": "understudy-filter-0",
            ])
        #expect(try DiskMirror.stuckFilters(machine.qmp) == ["understudy-filter-0"])
        try machine.qmp.execute("block-job-cancel", arguments: ["device": "foreign", "force": true])
        try machine.wait("the end of the job") { try DiskMirror.stuckFilters(machine.qmp).isEmpty }
    }

    @Test(arguments: DiskExactnessTests.programs)
    func `a mirror whose server dies while the guest writes harms nobody, and the next daemon takes it off`(qemu: String) throws {
        let machine = try machine(qemu)
        try machine.attach()
        try machine.beginWrites(3)
        #expect(machine.replication.stop(nil) == nil)
        try machine.io("write -P 2 16M 512")
        #expect(try DiskMirror.removeAll(machine.qmp))
        try expectLifeWithoutMirror(machine)
    }
}
