import Demonstration
import Glibc
import GuestMemory
import HostAPI
import QMP
import Testing
import UnderstudyCore

@testable import HostDaemon
@testable import Hypervisor

/// Invariant I3 through the whole product: two daemons, their synchronisation in rounds while the guest writes, and their epochs.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct ExactnessDaemonTests {
    /// The first daemon stands still with the guest at the cut of this epoch, the second one when it has applied it.
    private static let epoch = 12

    @Test func aStandbyUnderDaemonsEqualsItsPrimaryAtTheCut() throws {
        // The rehearsal is the first checkpoint; nobody may take a daemon that stands still for a dead one.
        let pair = try ProtectedLab(
            faults: ["host1": "checkpointCopied:\(Self.epoch + 1)", "host2": "epochApplied:\(Self.epoch)"],
            settings: "detection-ms = 60000.0", dirtyPages: 440, booting: true)
        let monitor = try QMPClient(socketPath: pair.guest.qmp)
        let machine = try MachineDescription.read(from: monitor)
        monitor.close()
        try pair.protect()
        try pair.awaitFault(on: pair.lab.host1)
        let image = ExactnessImage(blocks: machine.ramBlocks)
        try image.take(from: try MemoryReader(pid: machine.process.id, blocks: machine.ramBlocks))
        try pair.wait(
            seconds: 20,
            for: "epoch \(Self.epoch - 1) on the second host, which has \(String(describing: pair.status(pair.daemons.second)?.epoch))"
        ) {
            pair.status(pair.daemons.second)?.epoch == UInt64(Self.epoch - 1)
        }
        guard let standby = pair.status(pair.daemons.second)?.qemu?.pid else { throw SurvivalFailure("no standby\n\(pair.logs)") }
        let reader = try MemoryReader(pid: standby, blocks: try Self.blocks(of: standby, like: machine.ramBlocks))
        #expect(try !image.differences(to: reader).isEmpty, "the epoch has not left the first host, and the guest wrote in it")

        kill(pair.daemons.first.process.pid, SIGCONT)
        try pair.awaitFault(on: pair.lab.host2)
        // Nothing but the applied epoch can reach the standby any more; what its socket still holds it reads by itself.
        var differences = try image.differences(to: reader)
        let end = ContinuousClock.now + .seconds(10)
        while !differences.isEmpty, ContinuousClock.now < end { differences = try image.differences(to: reader) }
        let count = differences.count
        #expect(count == 0, "\(count) pages differ\n\(pair.logs)")
    }

    /// Where a waiting QEMU, whose monitor its daemon holds, has its RAM blocks: by their lengths and contents.
    private static func blocks(of pid: Int32, like blocks: [RAMBlock]) throws -> [RAMBlock] {
        try RAMBlockLocator(
            listings: blocks.map {
                RAMBlockListing(name: $0.name, usedLength: $0.usedLength, totalLength: $0.totalLength, hostAddress: nil)
            }, sections: [],
            map: MemoryMap(mappings: try MemoryMapping.parse(try ProcessFile.text("/proc/\(pid)/maps"))), translate: { _ in nil },
            read: { (address, length) throws(HypervisorError) in try ProcessMemory(process: pid).read(address, length) }
        ).locate()
    }
}
