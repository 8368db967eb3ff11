import Foundation
import HostAPI

/// The human form of `understudy status`.
enum StatusText {
    static func render(_ status: HostStatus) -> String {
        (body(status) + warnings(status)).joined(separator: "\n\n")
    }

    /// Certificates that need an operator; nothing about good ones.
    private static func warnings(_ status: HostStatus) -> [String] {
        (status.certificates ?? []).filter { $0.state != "valid" }.map { certificate in
            let end = Date(timeIntervalSince1970: Double(certificate.notAfter)).formatted(Date.ISO8601FormatStyle())
            let state = certificate.state.replacing("-", with: " ")
            return "WARNING: \(certificate.role) \(certificate.file): \(state), \(certificate.daysLeft) days left, until \(end)"
        }
    }

    private static func body(_ status: HostStatus) -> [String] {
        guard !status.machines.isEmpty else {
            return ["host \(status.host): no machines; protect one with `understudy protect NAME --qmp SOCKET --backup HOST`"]
        }
        return status.machines.map { machine in lines(machine, host: status.host).joined(separator: "\n") }
    }

    private static func lines(_ machine: MachineStatus, host: String) -> [String] {
        var lines = [
            "\(machine.name): \(machine.state.rawValue.uppercased()) (\(machine.role.rawValue) on \(host)\(machine.peer.map { ", peer \($0)" } ?? ""))",
            "  \(machine.message)",
        ]
        lines.append(
            "  generation \(machine.generation), committed epoch \(machine.epoch)\(machine.intervalMilliseconds.map { String(format: ", interval %.0f ms", $0) } ?? "")"
        )
        if let qemu = machine.qemu {
            lines.append(
                "  QEMU \(qemu.version), pid \(qemu.pid)\(qemu.qmp.map { ", QMP \($0)" } ?? "")\(taps(machine.taps))")
        }
        if let checkpoints = machine.checkpoints, checkpoints.count > 0 {
            lines.append(
                String(
                    format: "  %d checkpoints: pause %.1f ms (p99 %.1f), epoch %.1f ms (p99 %.1f), commit after %.1f ms, %.0f dirty pages",
                    Int(checkpoints.count),
                    checkpoints.pauseMilliseconds.p50, checkpoints.pauseMilliseconds.p99, checkpoints.epochMilliseconds.p50,
                    checkpoints.epochMilliseconds.p99,
                    checkpoints.commitMilliseconds.p50, checkpoints.dirtyPages.p50))
        }
        if let pacing = machine.pacing, pacing.isAutomatic {
            let total = max(1, pacing.decisions.values.reduce(0, +))
            let shares = pacing.decisions.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
                .map { String(format: "%@ %.0f%%", $0.key, Double($0.value) * 100 / Double(total)) }
            lines.append(
                String(format: "  automatic epochs: the last was meant for %.1f ms (", pacing.intervalMilliseconds)
                    + "\(pacing.reason)); in all: \(shares.joined(separator: ", "))")
        }
        if let compression = machine.compression, compression.dirtyBytes > 0 { lines.append(line(compression)) }
        if let output = machine.output {
            lines.append(
                "  output: \(output.heldFrames) frames held (\(output.heldBytes) bytes), \(output.releasedFrames) released, \(output.droppedFrames) dropped"
            )
        }
        if let cards = machine.output?.cards, cards.count > 1 {
            lines += cards.map {
                "    \($0.tap)\(kind($0)): \($0.heldFrames) held, \($0.releasedFrames) released, \($0.droppedFrames) dropped"
            }
        }
        lines += (machine.disks ?? []).map { disk in
            if disk.shared == true {
                return "  disk \(disk.name): \(disk.byteCount >> 20) MiB, shared: writes wait for their commit, then go to \(disk.copy)"
            }
            return
                "  disk \(disk.name): \(disk.byteCount >> 20) MiB, every write goes to \(disk.copy)\(machine.peer.map { " on \($0)" } ?? "")"
        }
        let differing = (machine.disks ?? []).compactMap(\.differingBytes)
        if !differing.isEmpty {
            lines.append(String(format: "    %.1f MiB differed from the copies", Double(differing.reduce(0, +)) / 1_048_576))
        }
        if let disk = machine.disks?.first {
            lines.append(
                String(
                    format: "    %.1f MiB replicated, %.1f MiB waiting for the link", Double(disk.replicatedBytes) / 1_048_576,
                    Double(disk.backlogBytes) / 1_048_576))
        }
        if let progress = machine.synchronisation {
            lines.append(
                String(
                    format: "  %@, round %d: %.0f MiB sent, %.0f MiB to go, %.0f MiB/s%@", progress.phase, progress.round,
                    Double(progress.sentBytes) / 1_048_576, Double(progress.remainingBytes) / 1_048_576,
                    progress.bytesPerSecond / 1_048_576,
                    progress.remainingSeconds.map { String(format: ", %.0f s left", $0) } ?? ""))
        }
        if let clock = machine.clock {
            lines.append(
                String(format: "  guest's clock: %.3f s lost in pauses, %.3f s of it taken back", clock.lostSeconds, clock.correctedSeconds)
            )
        }
        if let search = machine.reprotection {
            lines.append(
                String(
                    format: "  looks for a backup: attempt %d, with %@, follows in %.0f s%@", search.attempts + 1, search.backup,
                    search.nextAttemptSeconds, search.reason.map { "; \($0)" } ?? ""))
        }
        if let times = machine.takeover {
            lines.append(
                String(
                    format: "  took over (%@): detected after %.0f ms, decided in %.1f ms, running %.1f ms later", times.reason,
                    times.detectionMilliseconds, times.decisionMilliseconds, times.activationMilliseconds))
        }
        return lines
    }

    private static func line(_ compression: CompressionStatus) -> String {
        String(
            format:
                "  compression %@: %.1f MiB on the wire for %.1f MiB changed (%.0f %%); pages: %llu unchanged, %llu zero, %llu deltas, %llu whole; messages packed: %llu LZ4, %llu zstd of %llu",
            compression.mode.rawValue, Double(compression.wireBytes) / 1_048_576, Double(compression.dirtyBytes) / 1_048_576,
            100 * Double(compression.wireBytes) / Double(compression.dirtyBytes), compression.unchangedPages, compression.zeroPages,
            compression.deltaPages, compression.wholePages, compression.lz4Records, compression.zstdRecords,
            compression.plainRecords + compression.lz4Records + compression.zstdRecords)
    }

    /// Said of what is no tap.
    private static func kind(_ card: CardOutputStatistics) -> String { card.kind.map { $0 == "tap" ? "" : " (\($0))" } ?? "" }

    private static func taps(_ names: [String]) -> String {
        guard !names.isEmpty else { return "" }
        return ", \(names.contains { $0.contains(":") } ? "networks" : names.count == 1 ? "tap" : "taps") \(names.joined(separator: ", "))"
    }
}
