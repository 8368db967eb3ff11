extension Verdict {
    /// The verdict as one line of JSON, keys in a fixed order. Milliseconds with three decimals, `null` for what was not measured.
    ///
    /// `dirty_pages` holds `p50` only; `udp_requests`, `udp_lost`, `disk` and `passed` follow the documented keys.
    public var json: String {
        let members: [(String, String)] = [
            ("connection_survived", String(connectionSurvived)), ("requests", String(requests)), ("lost", String(lost)),
            ("duplicated", String(duplicated)), ("reordered", String(reordered)), ("chain_violations", String(chainViolations)),
            ("client_gap_ms", Verdict.number(clientGapMilliseconds)),
            ("pingpong_gap_ms", Verdict.number(pingpongGapMilliseconds)),
            ("outage_ms", Verdict.number(outageMilliseconds)),
            ("detection_ms", Verdict.number(daemons.detectionMilliseconds)),
            ("takeover_ms", Verdict.number(daemons.takeoverMilliseconds)),
            ("checkpoints", String(daemons.checkpoints)),
            ("pause_ms", Verdict.object(daemons.pauseMilliseconds)), ("epoch_ms", Verdict.object(daemons.epochMilliseconds)),
            ("dirty_pages", "{\"p50\":\(Verdict.number(daemons.dirtyPages))}"),
            ("added_rtt_ms", Verdict.object(addedRoundTripMilliseconds)),
            ("qemu", Verdict.string(qemu)), ("seed", String(seed)),
            ("udp_requests", String(udpRequests)), ("udp_lost", String(udpLost)),
            ("disk", Verdict.object(disk)), ("passed", String(passed)),
        ]
        return "{" + members.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
    }

    private static func object(_ quantiles: Quantiles?) -> String {
        "{\"p50\":\(number(quantiles?.p50)),\"p99\":\(number(quantiles?.p99))}"
    }

    private static func object(_ disk: DiskVerdict?) -> String {
        guard let disk else { return "null" }
        return "{\"missing\":\(disk.missing),\"duplicated\":\(disk.duplicated),\"fsck_clean\":\(disk.isClean)}"
    }

    /// JSON knows no infinity: what is not finite is `null`.
    private static func number(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "null" }
        return String((value * 1000).rounded() / 1000)
    }

    private static func string(_ text: String) -> String {
        var escaped = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": escaped += "\\\""
            case "\\": escaped += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                escaped += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped + "\""
    }
}
