import Testing

@testable import Demonstration

@Suite struct VerdictTests {
    @Test func `a flawless history passes`() {
        let verdict = HistoryFixture().verdict
        #expect(verdict.passed)
        #expect(verdict.connectionSurvived)
        #expect(verdict.requests == 200)
        #expect(verdict.udpRequests == 200)
        #expect(verdict.lost + verdict.duplicated + verdict.reordered + verdict.chainViolations + verdict.udpLost == 0)
    }

    @Test func `an empty run does not pass`() {
        var fixture = HistoryFixture()
        fixture.run.clients = []
        fixture.run.chain = SurvivorChain(records: [], head: .zero)
        #expect(!fixture.verdict.passed)
    }

    @Test(arguments: [ClientKind.tcpPipelined, .tcpPingPong])
    func `an unanswered stream request is lost`(kind: ClientKind) {
        var fixture = HistoryFixture()
        fixture.run.clients[fixture.index(of: kind)].replies.remove(at: 40)
        #expect(fixture.verdict.lost == 1)
        #expect(!fixture.verdict.passed)
    }

    @Test func `lost datagrams are counted apart and do not fail the verdict`() {
        var fixture = HistoryFixture()
        fixture.run.clients[fixture.index(of: .udpFast)].replies.removeSubrange(40..<45)
        #expect(fixture.verdict.udpLost == 5)
        #expect(fixture.verdict.lost == 0)
        #expect(fixture.verdict.passed)
    }

    @Test(arguments: ClientKind.allCases)
    func `a reply that comes twice is duplicated`(kind: ClientKind) {
        var fixture = HistoryFixture()
        let index = fixture.index(of: kind)
        let replies = fixture.run.clients[index].replies
        fixture.run.clients[index].replies.insert(replies[40], at: 41)
        #expect(fixture.verdict.duplicated == 1)
        #expect(fixture.verdict.lost + fixture.verdict.reordered + fixture.verdict.chainViolations == 0)
        #expect(!fixture.verdict.passed)
    }

    @Test(arguments: ClientKind.allCases)
    func `an overtaken reply is reordered, and its counter goes back`(kind: ClientKind) {
        var fixture = HistoryFixture()
        fixture.run.clients[fixture.index(of: kind)].replies.swapAt(40, 41)
        #expect(fixture.verdict.reordered == 1)
        #expect(fixture.verdict.chainViolations == 1)
        #expect(!fixture.verdict.passed)
    }

    @Test func `a connection with an error did not survive`() {
        var fixture = HistoryFixture()
        fixture.run.clients[fixture.index(of: .tcpPingPong)].connectionError = "receive: Connection reset by peer"
        #expect(!fixture.verdict.connectionSurvived)
        #expect(!fixture.verdict.passed)
    }

    @Test func `a connection without a reply after the death did not survive`() {
        var fixture = HistoryFixture()
        let index = fixture.index(of: .tcpPipelined)
        fixture.run.clients[index].replies.removeAll { $0.receivedAt > HistoryFixture.death }
        #expect(!fixture.verdict.connectionSurvived)
    }

    @Test func `a run without stream clients has no surviving connection`() {
        var fixture = HistoryFixture()
        fixture.run.clients.removeAll { $0.kind.isStream }
        #expect(!fixture.verdict.connectionSurvived)
    }

    @Test func `gap, outage and added round trip are measured at the right ends`() {
        var fixture = HistoryFixture()
        fixture.run.times = RunTimes(
            protectRequestedAt: 1_100_500_000, protectedAt: 1_150_000_000, diedAt: HistoryFixture.death,
            lastFrameOfOldHostAt: 1_501_000_000, firstFrameOfNewHostAt: 1_676_000_000)
        let index = fixture.index(of: .tcpPingPong)
        fixture.run.clients[index].replies = fixture.run.clients[index].replies.map { reply in
            var held = reply
            if reply.receivedAt > 1_150_000_000 { held.receivedAt += 24_000_000 }
            return held
        }
        let verdict = fixture.verdict
        #expect(verdict.outageMilliseconds == 175)
        #expect(verdict.clientGapMilliseconds == 210)
        #expect(verdict.addedRoundTripMilliseconds == Quantiles(p50: 24, p99: 24))
    }

    @Test func `a silence that was over before the death is no client gap`() {
        var fixture = HistoryFixture()
        fixture.run.clients[0].replies.removeSubrange(5..<45)
        #expect(fixture.verdict.clientGapMilliseconds == 210)
        fixture.run.times.diedAt = nil
        #expect(fixture.verdict.clientGapMilliseconds == 410)
    }

    @Test func `the JSON line has every documented key, in order, and null for what was not measured`() {
        var fixture = HistoryFixture(requestsPerClient: 2)
        fixture.run.times.diedAt = nil
        fixture.run.qemu = "7.2 \"x\"\n"
        fixture.run.daemons = DaemonFigures(
            detectionMilliseconds: 151.25, checkpoints: 9, pauseMilliseconds: Quantiles(p50: 3, p99: 4.5), dirtyPages: 480)
        #expect(
            fixture.verdict.json == """
                {"connection_survived":true,"requests":4,"lost":0,"duplicated":0,"reordered":0,"chain_violations":0,\
                "client_gap_ms":10.0,"pingpong_gap_ms":10.0,"outage_ms":null,"detection_ms":151.25,"takeover_ms":null,"checkpoints":9,\
                "pause_ms":{"p50":3.0,"p99":4.5},"epoch_ms":{"p50":null,"p99":null},"dirty_pages":{"p50":480.0},\
                "added_rtt_ms":{"p50":null,"p99":null},"qemu":"7.2 \\"x\\"\\u000a","seed":7,"udp_requests":4,"udp_lost":0,"disk":null,\
                "passed":true}
                """)
    }

    @Test func `quantiles are nearest ranks`() {
        #expect(Quantiles(of: []) == nil)
        #expect(Quantiles(of: [4]) == Quantiles(p50: 4, p99: 4))
        #expect(Quantiles(of: (1...100).reversed().map(Double.init)) == Quantiles(p50: 50, p99: 99))
    }
}
