internal import Foundation
internal import Glibc

/// One attempt to cut a host off by a fence agent: `action=off`, then `action=status` must say that it is off.
///
/// Source: the FenceAgentAPI of the `fence-agents` project: options as `key=value` lines on the standard input; `status` ends with 0 for on and 2
/// for off, everything else is a failure.
struct FenceAgent: Sendable {
    let program: String
    let parameters: [String: String]
    let timeoutSeconds: Double

    private static let statusOff: CInt = 2

    /// - Throws: `.system` unless the agent has confirmed that the host is off.
    func cutOff() throws(HostDaemonError) {
        let off = try run("off")
        guard off == 0 else { throw HostDaemonError(.system, "the fence agent \(program) failed to switch off (\(off))") }
        let status = try run("status")
        guard status == Self.statusOff else {
            throw HostDaemonError(.system, "the fence agent \(program) does not confirm that the host is off (\(status))")
        }
    }

    private func run(_ action: String) throws(HostDaemonError) -> CInt {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        let input = Pipe()
        process.standardInput = input
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        do {
            try process.run()
            let lines = ["action=\(action)"] + parameters.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            try input.fileHandleForWriting.write(contentsOf: Data(lines.joined(separator: "\n").utf8 + Array("\n".utf8)))
            try input.fileHandleForWriting.close()
        } catch {
            if process.isRunning { process.terminate() }
            throw HostDaemonError(.system, "the fence agent \(program) cannot be run: \(error.localizedDescription)", cause: error)
        }
        let end = MonotonicClock.now + MonotonicClock.nanoseconds(seconds: timeoutSeconds)
        while process.isRunning {
            guard MonotonicClock.now < end else {
                kill(process.processIdentifier, SIGKILL)
                throw HostDaemonError(.timeout, "the fence agent \(program) did not end within \(timeoutSeconds) s")
            }
            usleep(5_000)
        }
        return process.terminationReason == .exit ? process.terminationStatus : -1
    }
}
