import Demonstration
import Glibc
import HostAPI
import Testing

/// Never two guests whose output reaches the world, whatever the network between the hosts and the arbiter does.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct OneActivePartitionTests {
    private static let replication = LabAddresses.hostReplicationLink
    private static let arbiter = LabAddresses.hostArbiterLink

    @Test func aPartitionBetweenTheHostsLeavesExactlyOneActive() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        try pair.lab.host1.setLink(Self.replication, up: false)
        let survivor = try pair.awaitSurvivor()
        try pair.lab.host1.setLink(Self.replication, up: true)
        try pair.expectOneHistory(survivor, listener)
        #expect(try pair.awaitSurvivor() == survivor)
    }

    enum Direction: Sendable, CaseIterable {
        case towardsBackup, towardsPrimary
    }

    @Test(arguments: Direction.allCases) func aPartitionInOneDirectionLeavesExactlyOneActive(_ direction: Direction) throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        let mute = direction == .towardsBackup ? pair.lab.host1 : pair.lab.host2
        try mute.loseOutput(of: Self.replication)
        let survivor = try pair.awaitSurvivor()
        try mute.restoreOutput(of: Self.replication)
        try pair.expectOneHistory(survivor, listener)
        #expect(try pair.awaitSurvivor() == survivor)
    }

    @Test func aPartitionFromTheArbiterDisturbsNobodyWhileThePairTalks() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        let record = try pair.record()
        for cut in [[pair.lab.host1], [pair.lab.host2], [pair.lab.host1, pair.lab.host2]] {
            for host in cut { try host.setLink(Self.arbiter, up: false) }
            try pair.awaitMoreEpochs(20)
            #expect(pair.status(pair.daemons.first)?.state == .protected)
            #expect(pair.status(pair.daemons.second)?.state == .standby)
            for host in cut { try host.setLink(Self.arbiter, up: true) }
        }
        #expect(try pair.record() == record)
        try pair.killFirstHost()
        try pair.awaitTakeover()
        try pair.expectOneHistory(.second, listener)
    }

    @Test func aPrimaryThatIsAloneHoldsItsOutputAndGivesWayWhenItHearsOfTheTakeover() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        try pair.lab.host1.tool("sh", "-c", "ip link set \(Self.arbiter) down; ip link set \(Self.replication) down")
        try pair.awaitTakeover()
        try pair.awaitReplies(after: MonotonicTime.now(), seconds: 60)
        // The old guest lives, and its daemon still does not know.
        #expect(pair.guest.process.isRunning)
        #expect(pair.status(pair.daemons.first)?.state == .deciding)
        try pair.lab.host1.setLink(Self.arbiter, up: true)
        try pair.lab.host1.setLink(Self.replication, up: true)
        #expect(try pair.awaitSurvivor() == .second)
        try pair.awaitState(.ended, on: pair.daemons.first)
        try pair.expectOneHistory(.second, listener)
    }

    @Test func aBackupThatIsAloneDoesNotRunTheGuestAndEndsItsStandbyWhenItHearsOfTheDecision() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        try pair.lab.host2.tool("sh", "-c", "ip link set \(Self.arbiter) down; ip link set \(Self.replication) down")
        try pair.awaitState(.unprotected, on: pair.daemons.first)
        try pair.awaitState(.deciding, on: pair.daemons.second)
        #expect(pair.lab.host2.processes(of: "qemu-system").count == 1)
        try pair.lab.host2.setLink(Self.arbiter, up: true)
        #expect(try pair.awaitSurvivor() == .first)
        try pair.expectOneHistory(.first, listener)
    }

    @Test func withoutAnArbiterNobodyTakesOverUntilItIsBack() throws {
        let (pair, listener) = try ProtectedLab.underTraffic()
        try pair.killArbiter()
        try pair.awaitMoreEpochs(5)
        try pair.killFirstHost()
        try pair.wait(seconds: 60, for: "the backup's question") { pair.hasEvent("arbiter-unreachable", on: pair.daemons.second) }
        #expect(pair.status(pair.daemons.second)?.state == .deciding)
        #expect(listener.second.frames == 0)
        try pair.lab.startArbiter()
        try pair.awaitTakeover()
        try pair.expectOneHistory(.second, listener)
    }
}
