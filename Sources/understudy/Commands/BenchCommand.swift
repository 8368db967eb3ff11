import ArgumentParser
import Benchmark
import Demonstration
import Foundation

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract:
            "Measure every promise of speed and size on this machine, in laboratories of its own; exit code 1 when one does not hold.",
        discussion: "Needs root, QEMU, etcd and the guest of scripts/make-guest. Let nothing else run meanwhile.")

    @Flag(help: "Fewer rounds and one takeover: about a minute, within three.")
    var quick = false

    @Option(help: "QEMU's program.")
    var qemu = "qemu-system-x86_64"

    @Flag(help: "Print one JSON object instead of a table.")
    var json = false

    func run() throws {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path
        let options = BenchmarkOptions(programs: own, qemu: qemu, quick: quick)
        let interruption = Interruption()
        let report: BenchmarkReport
        do {
            report = try BenchmarkRun(options, tell: { Output.note($0) }).measure { $0.destroyOnInterrupt { interruption.note() } }
        } catch {
            interruption.endHere()
            Output.complain("the benchmark broke off: \(error)")
            throw ExitCode(1)
        }
        Output.line(json ? Output.json(report) : report.text)
        if !report.holds { throw ExitCode(1) }
    }
}
