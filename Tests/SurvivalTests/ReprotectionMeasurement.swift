import Demonstration
import HostAPI
import Testing

/// How long a returned host takes to protect an idle guest of 1 GiB. Proves nothing by itself: `UNDERSTUDY_MEASURE=1` runs it.
@Suite(.serialized, .enabled(if: Requirements.areMet && Requirements.isMeasuring, "measures only on request"))
struct ReprotectionMeasurement {
    @Test func theTimeToBeProtectedAgain() throws {
        let pair = try ProtectedLab(
            settings: ProtectedLab.patient + "\nreprotect = \"automatic\"", dirtyPages: 0, booting: true, change: { $0.memoryMiB = 1024 })
        try pair.protect()
        try pair.awaitEpochs(5)
        for round in 1...5 {
            try pair.kill(.second)
            try pair.awaitState(.unprotected, on: pair.daemon(.first))
            try pair.revive(.second)
            try pair.wait(seconds: 60, for: "the next attempt") {
                [.starting, .synchronising, .protected].contains(pair.status(.first)?.state)
            }
            let begun = MonotonicTime.now()
            try pair.awaitState(.protected, on: pair.daemon(.first))
            print("round \(round): protected again \((MonotonicTime.now() - begun) / 1_000_000) ms after the attempt began")
            try pair.awaitEpochs(5)
        }
    }
}
