internal import Foundation

extension BenchmarkReport {
    /// The report as a table for people.
    public var text: String {
        let width = (targets.map(\.name) + figures.map(\.name)).map(\.count).max() ?? 0
        func padded(_ name: String) -> String { name.padding(toLength: width, withPad: " ", startingAt: 0) }
        func number(_ value: Double) -> String {
            let text = String(format: "%.2f", value)
            return String(repeating: " ", count: max(0, 10 - text.count)) + text
        }
        var lines = [
            "QEMU \(qemu), Linux \(kernel), \(processors) processors, load before \(number(loadBefore).trimmingCharacters(in: .whitespaces))",
            "\(padded("promise"))   measured    at most",
        ]
        for target in targets {
            let measured = target.measured.map(number) ?? "         ?"
            lines.append("\(padded(target.name)) \(measured) \(number(target.target))  \(target.holds ? "holds" : "DOES NOT HOLD")")
        }
        lines.append("\(padded("figure"))   measured")
        for figure in figures { lines.append("\(padded(figure.name)) \(number(figure.measured))") }
        return lines.joined(separator: "\n")
    }
}
