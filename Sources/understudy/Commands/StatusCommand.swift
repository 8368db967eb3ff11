import ArgumentParser
import Foundation
import HostAPI

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the machines of this host; exit code 1 when one of them is not protected.")

    @Argument(help: "Only this machine.")
    var name: String?

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        guard case .status(var status) = try daemon.perform(.status) else { return }
        if let name {
            status.machines.removeAll { $0.name != name }
            guard !status.machines.isEmpty else {
                Output.complain("no machine named \(name) is known to host \(status.host)")
                throw ExitCode(1)
            }
        }
        if daemon.json { print(Output.json(status)) } else { print(StatusText.render(status)) }
        if status.machines.contains(where: { $0.needsAttention }) { throw ExitCode(1) }
    }
}

extension MachineStatus {
    /// True when an operator should look at it: the guest runs here, or should, and would not survive this host.
    fileprivate var needsAttention: Bool { role == .primary && !protected && state != .ended }
}
