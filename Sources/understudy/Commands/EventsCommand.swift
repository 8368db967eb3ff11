import ArgumentParser
import Foundation
import HostAPI

struct EventsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "Print what happened, one line each: first what the daemon remembers, then what comes.")

    @Flag(help: "Stop after what the daemon remembers.")
    var noFollow = false

    @OptionGroup var daemon: DaemonOptions

    func run() throws {
        _ = try daemon.perform(.events(follow: !noFollow)) { reply in
            guard case .event(let event) = reply else { return }
            Output.line(daemon.json ? Output.json(event) : line(event))
        }
    }

    private func line(_ event: HostEvent) -> String {
        let time = Date(timeIntervalSince1970: event.time).formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        let fields = event.fields.sorted { $0.key < $1.key }.map { " \($0.key):\($0.value)" }.joined()
        return Output.oneLine("\(time) \(event.machine) \(event.kind)\(fields) \(event.message)")
    }
}
