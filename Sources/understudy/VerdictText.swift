import Demonstration
import Foundation

/// The verdict for people.
enum VerdictText {
    static func render(_ verdict: Verdict) -> String {
        let disk = verdict.disk.map {
            "\n  disk: \($0.missing) requests missing, \($0.duplicated) twice, file system \($0.isClean ? "clean" : "DAMAGED")"
        }
        func text(_ value: Double?) -> String { value.map { String(format: "%.1f", $0) } ?? "?" }
        return """
            \(verdict.passed ? "SURVIVED" : "FAILED"): connections \(verdict.connectionSurvived ? "survived" : "BROKE"), \(verdict.requests) TCP requests, \
            \(verdict.lost) lost, \(verdict.duplicated) duplicated, \(verdict.reordered) reordered, \(verdict.chainViolations) outside the survivor's history
              outage \(text(verdict.outageMilliseconds)) ms, client gap \(text(verdict.clientGapMilliseconds)) ms, ping-pong gap \(text(verdict.pingpongGapMilliseconds)) ms
              decided \(text(verdict.daemons.detectionMilliseconds)) ms after the death, running \(text(verdict.daemons.takeoverMilliseconds)) ms later
              \(verdict.daemons.checkpoints) checkpoints, pause \(text(verdict.daemons.pauseMilliseconds?.p50)) ms (p99 \(text(verdict.daemons.pauseMilliseconds?.p99))), \
            epoch \(text(verdict.daemons.epochMilliseconds?.p50)) ms, \(text(verdict.daemons.dirtyPages)) dirty pages
              added round trip \(text(verdict.addedRoundTripMilliseconds?.p50)) ms (p99 \(text(verdict.addedRoundTripMilliseconds?.p99))); \
            UDP: \(verdict.udpLost) of \(verdict.udpRequests) datagrams lost; QEMU \(verdict.qemu), seed \(verdict.seed)\(disk ?? "")
            """
    }
}
