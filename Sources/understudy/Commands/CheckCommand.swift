import ArgumentParser
import HostAPI

struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Are this host, its peers, and optionally a machine, fit for protection? Each requirement is tried. Exit code 1 when not."
    )

    @Option(help: "QMP socket of a machine to examine; nothing of it is touched.")
    var qmp: String?

    @Option(help: "Only this backup host instead of every configured peer.")
    var backup: String?

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        guard case .check(let report) = try daemon.perform(.check(CheckRequest(qmp: qmp.map(Output.absolute), backup: backup))) else {
            return
        }
        print(daemon.json ? Output.json(report) : CheckText.render(report))
        if !report.fit { throw ExitCode(1) }
    }
}
