import Glibc
import Testing

@testable import Demonstration

@Suite(.serialized, .enabled(if: canRunGuest, "needs root, iproute2, QEMU and the guest made by scripts/make-guest"))
struct GuestTests {
    @Test func `an unprotected guest gives a clean verdict, and damaged records of it do not`() throws {
        try withLab { lab in
            let guest = try lab.startGuest(GuestLaunch(image: .cached()))
            print("boot to ready: \(try guest.waitUntilReady()) ms")
            let sniffer = try lab.startSniffer()
            let clients = try lab.startClients()
            try waitFor { clients.progress.allSatisfy { $0.received > 150 } }
            let records = clients.stop()
            let chain = try lab.fetchChain()
            var run = RunRecord(
                clients: records, chain: chain, times: RunTimes(), daemons: DaemonFigures(), qemu: "test", seed: 0)
            let verdict = Verdict.judge(run)
            print(verdict.json)
            for record in records { print(record.kind, record.sentAt.count, record.replies.count, record.connectionError ?? "") }
            #expect(verdict.passed)
            #expect(verdict.udpLost == 0)
            #expect(records[0].sentAt.count > 100)
            #expect(sniffer.sighting(at: LabAddresses.switchPortOfHost1).frames > 300)
            #expect(sniffer.sighting(at: LabAddresses.switchPortOfHost2).frames == 0)
            run.chain.records.removeLast()
            #expect(!Verdict.judge(run).passed)
            print("cpu of QEMU, clock ticks:", LabFiles.text(of: "/proc/\(guest.process.pid)/stat").split(separator: " ")[13...14])

            let death = try lab.killHost1(pids: [guest.process.pid])
            #expect(guest.process.wait(milliseconds: 60_000) != nil)
            MonotonicTime.sleep(milliseconds: 100)
            let seen = try #require(sniffer.stop()[LabAddresses.switchPortOfHost1])
            #expect(!seen.sawFrame(after: death.linksDownAt))
            #expect(seen.dropped == 0)
        }
    }

    @Test func `requests to a guest whose host dies without protection are lost`() throws {
        try withLab { lab in
            let guest = try lab.startGuest(GuestLaunch(image: .cached(), dirtyPages: 0))
            try guest.waitUntilReady()
            let sniffer = try lab.startSniffer()
            let clients = try lab.startClients()
            try waitFor { clients.progress.allSatisfy { $0.received > 20 } }
            let chain = SurvivorChain(records: [], head: .zero)
            let death = try lab.killHost1(pids: [guest.process.pid])
            MonotonicTime.sleep(milliseconds: 200)
            let records = clients.stop(drainSeconds: 1)
            let seen = sniffer.stop()
            let verdict = Verdict.judge(
                RunRecord(
                    clients: records, chain: chain, times: RunTimes(diedAt: death.linksDownAt), daemons: DaemonFigures(), qemu: "test",
                    seed: 0))
            #expect(!verdict.connectionSurvived)
            #expect(verdict.lost > 0 && verdict.udpLost > 0 && verdict.chainViolations > 80)
            #expect(seen[LabAddresses.switchPortOfHost1]?.sawFrame(after: death.linksDownAt) == false)
        }
    }
}
