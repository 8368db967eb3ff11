internal import Foundation
internal import Glibc
internal import Hypervisor
internal import QMP

/// The QEMU of a defined machine as the runtime folder knows it: found again by a later daemon, forgotten by a reboot.
struct MachineProcess: Codable, Sendable {
    var name: String
    var pid: Int32
    /// `/proc/PID/stat`'s start time in clock ticks: tells the process from a later one of the same number.
    var startTime: UInt64
    /// The monitor's socket that was added for the daemon.
    var qmp: String
    /// What QEMU printed.
    var log: String

    private static func path(_ name: String, _ folder: String) -> String { "\(folder)/\(name).machine.json" }

    /// The living QEMU of a machine; nil when it does not run, or was not started by this host's daemon.
    static func find(_ name: String, in folder: String) throws(HostDaemonError) -> MachineProcess? {
        let path = path(name, folder)
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        let process: MachineProcess
        do {
            process = try JSONDecoder().decode(MachineProcess.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            throw HostDaemonError(
                .system, "\(path), which says where \(name) runs, cannot be read: end that machine's QEMU, then remove the file",
                cause: error)
        }
        return SessionRecord.startTime(of: process.pid) == process.startTime ? process : nil
    }

    /// Starts QEMU in a session of its own, so that it outlives the daemon, and waits for its monitor.
    ///
    /// - Returns: the process and the child to reap.
    /// - Throws: `.guest` with the end of QEMU's output when it ended at once or does not answer.
    static func start(
        _ definition: MachineDefinition, in folder: String
    ) throws(HostDaemonError) -> (process: MachineProcess, child: ChildProcess) {
        let qmp = "\(folder)/\(definition.name).machine.qmp"
        let log = "\(folder)/\(definition.name).machine.log"
        guard qmp.utf8.count < 108 else {
            throw HostDaemonError(.refused, "\(qmp) is too long for a Unix socket: configure a shorter `runtime-folder`, or a shorter name")
        }
        let program = try find(program: definition.qemu)
        unlink(qmp)
        let child: ChildProcess
        do throws(HypervisorError) {
            child = try ChildProcess(
                argv: [program] + definition.arguments + ["-qmp", "unix:\(qmp),server=on,wait=off"], log: log)
        } catch {
            throw HostDaemonError(.guest, error.message, cause: error)
        }
        do throws(HostDaemonError) {
            try waitForMonitor(qmp, of: child, log: log)
            let process = MachineProcess(
                name: definition.name, pid: child.pid, startTime: SessionRecord.startTime(of: child.pid) ?? 0, qmp: qmp, log: log)
            try process.write(to: folder)
            return (process, child)
        } catch {
            child.kill()
            throw error
        }
    }

    /// Seconds since the process was started (proc(5): its start time counts clock ticks since the host's boot).
    var ageSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9 - Double(startTime) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    static func forget(_ name: String, in folder: String) { unlink(path(name, folder)) }

    private func write(to folder: String) throws(HostDaemonError) {
        let path = Self.path(name, folder)
        do {
            try JSONEncoder.contract.encode(self).write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw HostDaemonError(.system, "\(path) cannot be written: \(error.localizedDescription)", cause: error)
        }
    }

    private static func find(program: String) throws(HostDaemonError) -> String {
        let folders = (getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin").split(separator: ":").map(String.init)
        let candidates = program.contains("/") ? [program] : folders.map { "\($0)/\(program)" }
        guard let found = candidates.first(where: { access($0, X_OK) == 0 }) else {
            throw HostDaemonError(
                .refused, "QEMU's program \(program) is not there: install qemu-system-x86, or correct `qemu` in the definition")
        }
        return found
    }

    /// Firmware and memory of a large machine take QEMU some seconds before it answers.
    private static func waitForMonitor(_ socket: String, of child: ChildProcess, log: String) throws(HostDaemonError) {
        let end = MonotonicClock.now + 30_000_000_000
        while true {
            if child.exitStatus != nil { throw HostDaemonError(.guest, "QEMU ended at once: \(tail(of: log))") }
            let problem: String
            do throws(QMPError) {
                let monitor = try QMPClient(socketPath: socket)
                monitor.close()
                return
            } catch {
                problem = error.message
            }
            guard MonotonicClock.now < end else {
                throw HostDaemonError(.guest, "QEMU does not answer: \(problem)\n\(tail(of: log))")
            }
            usleep(10_000)
        }
    }

    private static func tail(of log: String) -> String {
        let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
        let lines = text.split(separator: "\n").suffix(5).joined(separator: "\n")
        return lines.isEmpty ? "it printed nothing" : lines
    }
}
