import Demonstration
import HostAPI
import Testing

/// How long clients wait at a switchover. Proves nothing by itself: `UNDERSTUDY_MEASURE=1` runs it.
@Suite(.serialized, .enabled(if: Requirements.areMet && Requirements.isMeasuring, "measures only on request"))
struct SwitchoverMeasurement {
    private static let moves = 11

    @Test func theGapOfASwitchover() throws {
        let pair = try ProtectedLab(dirtyPages: 500, booting: true)
        var guest: [Double] = []
        var client: [Double] = []
        var pingPong: [Double] = []
        var datagram: [Double] = []
        for _ in 1...Self.moves {
            try pair.startClients()
            try pair.protect()
            try pair.awaitEpochs(30)
            guest.append(try pair.switchOver().gapMilliseconds)
            try pair.awaitReplies(after: MonotonicTime.now())
            let verdict = try pair.verdict()
            #expect(verdict.passed(reorderedDatagrams: 3), "\(verdict.json)")
            client.append(verdict.clientGapMilliseconds ?? -1)
            pingPong.append(verdict.pingpongGapMilliseconds ?? -1)
            datagram.append(verdict.datagramGapMilliseconds ?? -1)
            let parts = pair.status(pair.active)?.takeover
            print(
                "run: stop to running \(guest.last ?? 0), activation \(parts?.activationMilliseconds ?? 0), client \(client.last ?? 0), "
                    + "ping-pong \(pingPong.last ?? 0), datagrams \(datagram.last ?? 0), lost \(verdict.udpLost) ms")
        }
        let measured = [("stop to running", guest), ("datagram gap", datagram), ("client gap", client), ("ping-pong gap", pingPong)]
        for (name, samples) in measured {
            let sorted = samples.sorted()
            print("\(name): median \(sorted[sorted.count / 2]) ms, \(sorted[0]) to \(sorted[sorted.count - 1]) ms")
        }
    }
}
