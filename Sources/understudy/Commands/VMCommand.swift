import ArgumentParser
import Foundation
import HostAPI

/// Machines that the daemon starts itself.
struct VMCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vm", abstract: "Start and stop machines from definition files, which the daemon keeps over reboots.",
        subcommands: [VMList.self, VMStart.self, VMStop.self, VMRemove.self])

    /// A definition file's text when the word is a path, else nil: then it is the name of a machine.
    static func definition(_ word: String) throws -> String? {
        guard word.contains("/") || word.hasSuffix(".toml") else { return nil }
        do { return try String(contentsOfFile: word, encoding: .utf8) } catch {
            throw ValidationError("\(word) cannot be read: \(error.localizedDescription)")
        }
    }

    static func line(_ machine: MachineDefinitionStatus) -> String {
        let process = machine.pid.map { "pid \($0)" } ?? "-"
        return Output.oneLine(
            "\(machine.name)  \(process)  backup \(machine.backup ?? "-")\(machine.autostart ? "  autostart" : "")  \(machine.message)")
    }
}

struct VMList: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "Show the machines that this host has definitions of.")

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        guard case .definitions(let machines) = try daemon.perform(.definitions) else { return }
        if daemon.json { return print(Output.json(machines)) }
        for machine in machines { print(VMCommand.line(machine)) }
    }
}

struct VMStart: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Start a machine; from a definition file, the daemon keeps a copy of it.")

    @Argument(help: "A definition file (a path, or *.toml), or the name of a machine that the daemon has a definition of.")
    var machine: String

    @Flag(help: "Give up the last checkpoint that a silent backup may still hold of an earlier run on this host.")
    var discard = false

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        let text = try VMCommand.definition(machine)
        let request = StartMachineRequest(name: text == nil ? machine : nil, definition: text, discard: discard)
        guard case .definition(let status) = try daemon.perform(.startMachine(request)) else { return }
        print(daemon.json ? Output.json(status) : VMCommand.line(status))
    }
}

struct VMStop: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stop", abstract: "End protection, power the guest down, and wait for its end.")

    @Argument(help: "The machine's name.")
    var name: String

    @Option(help: "Seconds that the guest may take.")
    var timeout = 60.0

    @Flag(help: "End QEMU when the guest does not power down in time.")
    var force = false

    @OptionGroup var daemon: DaemonOptions

    func validate() throws {
        guard timeout >= 0, timeout.isFinite else { throw ValidationError("--timeout \(timeout): give seconds") }
    }

    func run() throws {
        if !daemon.json { Output.note(String(format: "%@ is told to power down; up to %.0f s for that", name, timeout)) }
        _ = try daemon.perform(.stopMachine(StopMachineRequest(name: name, timeoutSeconds: timeout, force: force)))
        if !daemon.json { print("\(name): ended") }
    }
}

struct VMRemove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Forget the definition of a machine that does not run.")

    @Argument(help: "The machine's name.")
    var name: String

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        _ = try daemon.perform(.removeDefinition(name: name))
        if !daemon.json { print("\(name): forgotten") }
    }
}
