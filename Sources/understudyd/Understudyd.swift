import ArgumentParser
import Foundation
import Glibc
import HostDaemon
import Logging
import Systemd

/// The host daemon's command line.
@main
struct Understudyd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "understudyd", abstract: "Understudy's host daemon: keeps virtual machines alive when their host dies.",
        discussion: """
            Exit codes: 0 ended by SIGTERM or SIGINT; 64 wrong usage; 70 it could not start; 78 the configuration is not usable.
            """,
        version: Host.version)

    @Option(name: .shortAndLong, help: "The TOML configuration file.")
    var config = "/etc/understudy/understudyd.toml"

    @Flag(help: "Examine configuration and certificates and exit: 0 when they are usable.")
    var checkConfig = false

    @Option(help: "trace, debug, info, notice, warning, error or critical.")
    var logLevel = "info"

    func run() throws {
        let configuration: DaemonConfiguration
        do {
            configuration = try DaemonConfiguration.load(path: config)
            try Host.examine(configuration)
        } catch {
            FileHandle.standardError.write(Data("understudyd: \(error)\n".utf8))
            throw ExitCode(78)
        }
        if checkConfig {
            print("\(config): usable; host `\(configuration.name)`, peers: \(configuration.peers.map(\.name).joined(separator: ", "))")
            return
        }
        guard let level = Logger.Level(rawValue: logLevel) else { throw ValidationError("--log-level \(logLevel): no such level") }
        // Before any thread is made: every one inherits that these wait for `sigwait`.
        let ending = Signals.block([SIGTERM, SIGINT])
        Self.startLogging(level)
        let notifier = ServiceNotifier(environment: ProcessInfo.processInfo.environment, process: getpid())
        let host: HostDaemon.Host
        do {
            host = try Host(configuration: configuration, logger: Logger(label: "understudyd"))
            try host.start()
        } catch {
            FileHandle.standardError.write(Data("understudyd: \(error)\n".utf8))
            throw ExitCode(70)
        }
        notifier.ready(status: "host \(configuration.name)")
        Watchdog(notifier, host: host).start()
        ending.wait()
        notifier.stopping(status: host.end())
        // The threads need no goodbye: whatever they hold, a daemon's death must be able to leave.
        _exit(0)
    }

    private static func startLogging(_ level: Logger.Level) {
        let toJournal = JournalLogHandler.isConnected(environment: ProcessInfo.processInfo.environment)
        LoggingSystem.bootstrap { label in
            var handler: any LogHandler =
                toJournal
                ? JournalLogHandler(identifier: "understudyd") { FileHandle.standardError.write(Data("\($0)\n".utf8)) }
                : StreamLogHandler.standardError(label: label)
            handler.logLevel = level
            return handler
        }
    }
}
