import ArgumentParser
import HostAPI

struct UnprotectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unprotect", abstract: "End the protection of a machine: its guest runs on here, its standby is ended.")

    @Argument(help: "The machine's name.")
    var name: String

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        let result = try daemon.perform(.unprotect(name: name))
        guard case .machine(let machine) = result else { return }
        print(daemon.json ? Output.json(machine) : "\(name): \(machine.message)")
    }
}
