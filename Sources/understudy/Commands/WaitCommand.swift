import ArgumentParser
import HostAPI

struct WaitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wait", abstract: "Wait until a machine is in a state; exit code 3 when the time runs out.")

    @Argument(help: "The machine's name.")
    var name: String

    @Option(name: .customLong("for"), help: "One of: \(MachineStatus.State.allCases.map(\.rawValue).joined(separator: ", ")).")
    var state = MachineStatus.State.protected.rawValue

    @Option(help: "Seconds to wait at the most.")
    var timeout = 60.0

    @OptionGroup var daemon: DaemonOptions

    func validate() throws {
        guard MachineStatus.State(rawValue: state) != nil else { throw ValidationError("--for \(state): no such state") }
    }

    func run() throws {
        let result = try daemon.perform(.wait(name: name, state: state, timeoutSeconds: timeout))
        guard case .machine(let machine) = result else { return }
        print(daemon.json ? Output.json(machine) : "\(machine.name): \(machine.state.rawValue)")
    }
}
