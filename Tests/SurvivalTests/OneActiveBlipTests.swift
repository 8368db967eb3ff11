import Demonstration
import Glibc
import HostAPI
import Testing

/// A slow or paused peer is no dead peer: at most one takeover, and a clean one.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct OneActiveBlipTests {
    enum Blip: Sendable, CaseIterable {
        case linkForASecond, linkForTwoSeconds, daemonForASecond, guestForASecond
    }

    @Test(arguments: Blip.allCases) func `a blip leads to no takeover or to one`(_ blip: Blip) throws {
        let (pair, listener) = try ProtectedLab.underTraffic(settings: "detection-ms = 300")
        try pass(blip, pair)
        let committed = pair.status(.first)?.epoch ?? 0
        try pair.wait(seconds: 60, for: "a settled pair") {
            guard let first = pair.status(.first) else { return pair.status(.second)?.state == .unprotected }
            return [.unprotected, .ended].contains(first.state) || (first.state == .protected && first.epoch > committed + 10)
        }
        let takeovers = [pair.daemons.first, pair.daemons.second].filter { pair.hasEvent("takeover", on: $0) }.count
        #expect(takeovers <= 1)
        if pair.status(.first)?.state == .protected {
            #expect(takeovers == 0)
            try pair.killFirstHost()
            try pair.awaitTakeover()
            try pair.expectOneHistory(.second, listener)
        } else {
            try pair.expectOneHistory(try pair.awaitSurvivor(), listener)
        }
    }

    private func pass(_ blip: Blip, _ pair: ProtectedLab) throws {
        switch blip {
        case .linkForASecond, .linkForTwoSeconds:
            try pair.lab.host1.setLink(LabAddresses.hostReplicationLink, up: false)
            usleep(blip == .linkForASecond ? 1_000_000 : 2_000_000)
            try pair.lab.host1.setLink(LabAddresses.hostReplicationLink, up: true)
        case .daemonForASecond: freeze(pair.daemons.first.process)
        case .guestForASecond: freeze(pair.guest.process)
        }
    }

    private func freeze(_ process: LabProcess) {
        process.signal(SIGSTOP)
        usleep(1_000_000)
        process.signal(SIGCONT)
    }
}
