import Foundation
import QMP
import Testing
import UnderstudyCore

@testable import HostDaemon

/// What the backup's image holds already is not sent again, and what differs is, whatever the reason.
@Suite(.serialized, .enabled(if: MirroredMachine.canRun, "needs QEMU and qemu-utils"))
struct DiskResynchronisationTests {
    private static let byteCount: UInt64 = 64 << 20
    private static let block = 64 << 10

    /// A disk of which 40 MiB are written, every block differently.
    private func machine(_ format: String, qemu: String = MirroredMachine.qemu) throws -> MirroredMachine {
        let machine = try MirroredMachine(qemu: qemu, format: format, byteCount: Self.byteCount)
        for part in 0..<160 { try machine.io("write -P \(part % 255 + 1) \(part * 262_144) 256k") }
        return machine
    }

    private func differing(_ machine: MirroredMachine) -> Int { Int(machine.replication.comparison[0].differing) / Self.block }

    private func expectEqual(_ machine: MirroredMachine, _ what: String) throws {
        try machine.commit(1)
        #expect(try machine.copy() == machine.contents(), "\(what)")
        #expect(machine.failures.isEmpty)
    }

    @Test(arguments: ["raw", "qcow2"], DiskExactnessTests.programs)
    func `a second copy sends the changed blocks only`(format: String, qemu: String) throws {
        let machine = try machine(format, qemu: qemu)
        try machine.attach()
        try expectEqual(machine, "the first copy")
        #expect(differing(machine) == 640)
        try machine.unprotect()
        // Nothing changed, then four blocks did: inside one, over an edge, made zero, and one that was never written before.
        try machine.protectAgain()
        try machine.attach()
        try expectEqual(machine, "the copy of an unchanged disk")
        #expect(differing(machine) == 0)
        #expect(machine.replication.queue.backlog.sentBytes == 0)
        try machine.unprotect()
        try machine.io("write -P 99 \(5 * Self.block + 512) 512")
        try machine.io("write -P 98 \(9 * Self.block - 512) 1024")
        try machine.io("write -z \(20 * Self.block) \(Self.block)")
        try machine.io("write -P 97 \(900 * Self.block) 4096")
        try machine.protectAgain()
        try machine.attach()
        try expectEqual(machine, "the copy of a changed disk")
        #expect(differing(machine) == 5)
        #expect(machine.replication.queue.backlog.sentBytes <= 5 * Self.block)
        #expect(machine.replication.comparison[0].skipped > 30 << 20)
    }

    @Test func `disks share the rate of the copy, and a finished one leaves its share to the others`() throws {
        let machine = try MirroredMachine(format: "raw", byteCount: Self.byteCount, hasSecondDisk: true)
        for part in 0..<40 { try machine.io("write -P \(part + 1) \(part << 20) 1M") }
        try machine.unprotect()
        try machine.protectAgain(copyMebibytes: 2)
        try machine.begin()
        func speeds() throws -> [UInt64?] {
            let jobs = try machine.qmp.execute("query-block-jobs").array ?? []
            return jobs.sorted { $0["device"]?.string ?? "" < $1["device"]?.string ?? "" }.map { $0["speed"]?.uint64 }
        }
        #expect(try speeds() == [1 << 20, 1 << 20])
        try machine.wait("the other share") {
            let isReady = try machine.replication.progress(machine.qmp).isReady
            #expect(!isReady)
            return try speeds().first == 2 << 20
        }
    }

    @Test func `a broken-off first copy goes on where it was`() throws {
        let machine = try machine("raw")
        try machine.unprotect()
        try machine.protectAgain(copyMebibytes: 8)
        try machine.begin()
        let jobs = try machine.qmp.execute("query-block-jobs").array ?? []
        #expect(jobs.map { $0["speed"]?.uint64 } == [8 << 20])
        try machine.wait("a part of the copy") { machine.appliedBytes >= 4 << 20 }
        let isReady = try machine.replication.progress(machine.qmp).isReady
        #expect(!isReady)
        try machine.unprotect()
        #expect(try machine.copy() != machine.contents())
        try machine.protectAgain()
        try machine.attach()
        try expectEqual(machine, "the rest of the copy")
        #expect(differing(machine) < 640)
        #expect(machine.replication.comparison[0].skipped >= 4 << 20)
    }

    @Test func `writes of a returned primary that were never committed are undone`() throws {
        let machine = try machine("raw")
        try machine.attach()
        try expectEqual(machine, "the first copy")
        try machine.unprotect()
        // The host of the copy ran the guest meanwhile, as far as the image is concerned; and its file has lost its end and grown a hole.
        var numbers = SplitMixNumbers(state: 4)
        let image = try FileHandle(forUpdating: URL(fileURLWithPath: machine.copyPath))
        var touched: Set<Int> = []
        for _ in 0..<40 {
            let place = Int.random(in: 0..<50 << 20, using: &numbers)
            touched.insert(place / Self.block)
            try image.seek(toOffset: UInt64(place))
            try image.write(contentsOf: Data([238]))
        }
        try image.truncate(atOffset: 63 << 20)
        try image.close()
        try machine.protectAgain()
        try machine.attach()
        try expectEqual(machine, "the returned copy")
        #expect(differing(machine) == touched.count)
    }

    @Test(arguments: ["raw", "qcow2"]) func `a guest that writes while its disk is compared has its every write copied`(format: String)
        throws
    {
        let machine = try machine(format)
        try machine.attach()
        try expectEqual(machine, "the first copy")
        try machine.unprotect()
        var numbers = SplitMixNumbers(state: 11)
        let begun = MonotonicClock.now
        try machine.protectAgain(copyMebibytes: 32)
        try machine.begin()
        // The copy has 40 MiB to be read.
        #expect(MonotonicClock.now - begun >= 1_000_000_000)
        for _ in 0..<150 {
            let sectors = Int.random(in: 1...300, using: &numbers)
            let offset = Int.random(in: 0...Int(Self.byteCount) / 512 - sectors, using: &numbers) * 512
            let kind = ["-z", "-P 7", "-P 8", "-P \(offset / 262_144 % 255 + 1)"].randomElement(using: &numbers)!
            try machine.io("write \(kind) \(offset) \(sectors * 512)")
        }
        try machine.complete()
        try expectEqual(machine, "the copy of a busy disk")
    }
}
