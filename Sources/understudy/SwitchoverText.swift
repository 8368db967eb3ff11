import Foundation
import HostAPI

/// A switchover for people.
enum SwitchoverText {
    static func render(_ report: SwitchoverReport) -> String {
        let gap = String(format: "%.1f", report.gapMilliseconds)
        let moved =
            "\(report.name): moved from \(report.from) to \(report.to) at epoch \(report.epoch); the guest stood still for \(gap) ms"
        let after =
            report.protected
            ? "protected again, by \(report.from)"
            : "runs on \(report.to) WITHOUT a backup: protect it there, `understudy protect \(report.name) --backup \(report.from)`"
        return "\(moved)\n  \(after)"
    }
}
