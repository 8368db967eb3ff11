internal import Logging
internal import Synchronization
internal import Foundation
internal import Glibc
internal import HostAPI

/// What a host does by itself after it has booted.
extension Host {
    /// Starts and protects the machines that want it, unless this host started a daemon since it booted.
    func startAfterBoot() throws(HostDaemonError) {
        guard try isFirstSinceBoot() else { return }
        for name in try machines.names() {
            let definition: MachineDefinition
            do throws(HostDaemonError) { definition = try machines.definition(name) } catch {
                context.events.record("failed", machine: name, error.message, level: .error)
                continue
            }
            guard definition.autostart else { continue }
            try DedicatedThread(name: "autostart") { [self] in bringUp(definition) }
        }
    }

    /// `/proc/sys/kernel/random/boot_id` (random(4)) tells one boot from another.
    private func isFirstSinceBoot() throws(HostDaemonError) -> Bool {
        let path = "\(context.configuration.stateFolder)/boot-id"
        do {
            let current = try String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
            if FileManager.default.fileExists(atPath: path), try String(contentsOfFile: path, encoding: .utf8) == current { return false }
            try current.write(toFile: path, atomically: true, encoding: .utf8)
            return true
        } catch {
            throw HostDaemonError(.system, "\(path) cannot be kept: \(error.localizedDescription)", cause: error)
        }
    }

    /// Arbiter and peer may boot at the same time, so everything is tried again; each new reason is told once.
    private func bringUp(_ definition: MachineDefinition) {
        var told = ""
        while true {
            do throws(HostDaemonError) {
                let status = try machines.start(StartMachineRequest(name: definition.name, definition: nil, unlessRunning: true))
                guard let backup = definition.backup else { return }
                usleep(useconds_t((status.settleSeconds ?? 0) * 1e6))
                if try isProtected(definition, backup: backup, qmp: status.qmp) { return }
            } catch {
                if error.message != told {
                    told = error.message
                    context.events.record("autostart", machine: definition.name, error.message, level: .warning)
                }
                if error.code == .elsewhere || error.code == .notFound { return }
            }
            usleep(5_000_000)
        }
    }

    private func isProtected(_ definition: MachineDefinition, backup: String, qmp: String?) throws(HostDaemonError) -> Bool {
        if let session = registry[definition.name], !session.isOver { return true }
        let session = try prepare(
            ProtectRequest(name: definition.name, qmp: qmp, backup: backup, intervalMilliseconds: definition.intervalMilliseconds))
        try session.start()
        while true {
            let status = session.status
            if status.state == .protected { return true }
            if session.isOver || status.state == .unprotected {
                throw session.shared.withLock { $0.error } ?? HostDaemonError(.refused, status.message)
            }
            usleep(20_000)
        }
    }
}
