import ArgumentParser
import HostAPI

struct SetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Change how a machine is protected while it is protected; holds until this protection ends.")

    @Argument(help: "The machine's name.")
    var name: String

    @Option(help: "How checkpoints are compressed from the next one on.")
    var compression: CompressionMode

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        let result = try daemon.perform(.set(SetRequest(name: name, compression: compression)))
        guard case .machine(let machine) = result else { return }
        print(daemon.json ? Output.json(machine) : "\(name): compression \(compression.rawValue)")
    }
}
