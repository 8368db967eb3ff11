import ArgumentParser
import Foundation
import HostAPI

struct SwitchoverCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "switchover",
        abstract: "Move a protected machine to its backup on purpose; the guest stands still for some milliseconds.",
        discussion: "Afterwards the machine runs on the other host, without a backup unless --protect-back is given.")

    @Argument(help: "The machine's name.")
    var name: String?

    @Flag(help: "Move every machine that is protected on this host, one after the other.")
    var all = false

    @Flag(help: "Bring a machine back to the host that it came from: if it runs here without a backup, it is protected there first.")
    var back = false

    @Flag(help: "Afterwards protect the machine again, in the other direction, and wait for that.")
    var protectBack = false

    @Option(help: "Seconds after which the guest goes on here, as far as the arbiter allows.")
    var timeout = 5.0

    @OptionGroup var daemon: DaemonOptions

    func validate() throws {
        if all == (name != nil) { throw ValidationError("name one machine, or give --all") }
        if all && back { throw ValidationError("--back brings one machine back: name it") }
        guard (0.1...3600).contains(timeout) else { throw ValidationError("--timeout \(timeout): give 0.1 to 3600 seconds") }
    }

    func run() throws {
        if let name { return try move(name) }
        guard case .status(let status) = try daemon.perform(.status) else { return }
        let protected = status.machines.filter { $0.role == .primary && $0.state == .protected }
        if protected.isEmpty, !daemon.json { print("no machine is protected on host \(status.host)") }
        var failure: ExitCode?
        for machine in protected {
            // One that cannot be moved keeps no other one here.
            do { try move(machine.name) } catch let code as ExitCode { failure = failure ?? code }
        }
        if let failure { throw failure }
    }

    private func move(_ name: String) throws {
        let request = SwitchoverRequest(name: name, timeoutSeconds: timeout, back: back, protectBack: protectBack)
        let result = try daemon.perform(.switchover(request)) { reply in
            guard case .event(let event) = reply else { return }
            if daemon.json { Output.line(Output.json(["event": event])) } else { Output.note("\(event.kind): \(event.message)") }
        }
        guard case .switchover(let report) = result else { return }
        Output.line(daemon.json ? Output.json(report) : SwitchoverText.render(report))
    }
}
