import HostAPI

/// The human form of `understudy check`: a line for each requirement, what to do under it, and a conclusion.
enum CheckText {
    static func render(_ report: CheckReport) -> String {
        var lines: [String] = []
        for line in report.lines {
            let word =
                switch line.state {
                case .ok: "ok     "
                case .warning: "warning"
                case .failed: "FAILED "
                }
            lines.append(Output.oneLine("\(word) \(line.requirement): \(line.found)"))
            if let remedy = line.remedy { lines.append(Output.oneLine("        -> \(remedy)")) }
        }
        let (failed, warnings) = (count(.failed, report), count(.warning, report))
        lines.append(
            failed == 0
                ? "\(report.host) is fit\(warnings == 0 ? "" : ", with \(warnings) warning\(warnings == 1 ? "" : "s")")"
                : "\(report.host) is NOT fit: \(failed) of \(report.lines.count) requirements failed")
        return lines.joined(separator: "\n")
    }

    private static func count(_ state: CheckReport.State, _ report: CheckReport) -> Int { report.lines.filter { $0.state == state }.count }
}
