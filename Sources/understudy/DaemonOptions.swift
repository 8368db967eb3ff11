import ArgumentParser
import Foundation
import HostAPI

/// What every command that talks to the daemon accepts.
struct DaemonOptions: ParsableArguments {
    @Option(help: "The daemon's Unix socket.")
    var socket = ProcessInfo.processInfo.environment["UNDERSTUDY_SOCKET"] ?? "/run/understudy/understudyd.sock"

    @Flag(help: "Print the documented JSON document instead of text.")
    var json = false

    /// Performs one request; failures become a message on standard error and the documented exit code.
    func perform(_ request: HostRequest, onReply: (HostReply) -> Void = { _ in }) throws -> HostResult {
        do throws(HostAPIError) {
            return try HostClient(socketPath: socket).perform(request, onReply: onReply)
        } catch {
            if json { print(Output.json(["error": error])) }
            Output.complain(error.message)
            throw ExitCode(error.exitCode)
        }
    }
}

extension HostAPIError {
    /// The exit code that `understudy --help` documents for this error.
    fileprivate var exitCode: Int32 {
        switch code {
        case "daemon-unreachable", "daemon-gone", "daemon-silent", "bad-reply": 2
        case "timeout": 3
        default: 1
        }
    }
}
