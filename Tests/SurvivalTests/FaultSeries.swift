import Demonstration
import Glibc
import HostAPI
import Testing

/// The hosts of one pair die at one fault point after the other, each time the one that runs the guest; whoever survives is next.
struct FaultSeries {
    let pair: ProtectedLab
    /// What else must hold after every takeover, at the point named.
    var check: (_ point: String) throws -> Void = { _ in }

    /// The primary dies at each of the points, the first two of which the pair's daemons were started with, host 1's first.
    func killPrimaries(at points: [String]) throws {
        var later = points.dropFirst(2)
        for point in points {
            try pair.startClients()
            pair.beginProtecting()
            try pair.awaitFault(on: pair.host(pair.active))
            let died = MonotonicTime.now()
            try pair.kill(pair.active)
            try pair.awaitTakeover()
            try expectWhole(point, since: died)
            try pair.revive(pair.active.other, fault: later.popFirst())
        }
    }

    /// The backup stands still at each of the points, and the primary's host dies meanwhile, or before for a point of a takeover: awake again,
    /// the backup takes over. Host 2's daemon was started with the first point.
    func wakeBackups(at points: [String], inTakeover takeoverPoints: [String]) throws {
        var later = (points + takeoverPoints).dropFirst()
        for point in points + takeoverPoints {
            let standing = pair.daemon(pair.active.other)
            try pair.startClients()
            pair.beginProtecting()
            if takeoverPoints.contains(point) {
                try pair.awaitState(.protected, on: pair.daemon(pair.active), seconds: 60)
                try pair.awaitEpochs(3)
                try pair.kill(pair.active)
                try pair.awaitFault(on: pair.host(pair.active.other))
            } else {
                try pair.awaitFault(on: pair.host(pair.active.other))
                try pair.kill(pair.active)
            }
            usleep(100_000)
            let woken = MonotonicTime.now()
            standing.process.signal(SIGCONT)
            try pair.awaitTakeover()
            try expectWhole(point, since: woken)
            try pair.revive(pair.active.other, fault: later.popFirst())
        }
    }

    private func expectWhole(_ point: String, since moment: UInt64) throws {
        try pair.awaitReplies(after: moment)
        try check(point)
        let verdict = try pair.verdict()
        #expect(verdict.passed, "\(point): \(verdict.json)\n\(pair.logs)")
    }
}
