import Arbiter
import Demonstration
import Foundation
import Glibc
import QMP
import Testing
import UnderstudyCore

/// What a test sees of the lab from outside the daemons.
extension ProtectedLab {
    /// The arbiter's record of the guest; nil when there is none.
    func record() throws -> ArbiterRecord? {
        try lab.arbiter.run { () throws(DemonstrationError) in
            do throws(ArbiterError) {
                return try EtcdArbiter(endpoints: [LabAddresses.arbiterEndpoint]).read(key: "understudy/machine/\(Self.machine)")
            } catch {
                throw DemonstrationError(.network, "the arbiter cannot be read: \(error)", cause: error)
            }
        }
    }

    /// The QEMU processes of a host, stopped ones included.
    func machines(on side: Side) -> [pid_t] {
        host(side).processes.filter { pid in
            let name = (try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)) ?? ""
            return name.hasPrefix("qemu-system")
        }
    }

    /// The network interfaces of a host.
    func interfaces(on side: Side) -> [String] {
        // /sys shows the namespace of the process that mounted it; /proc/thread-self/net that of the thread.
        let text: String? = try? host(side).run { () throws(DemonstrationError) in
            try? String(contentsOfFile: "/proc/thread-self/net/dev", encoding: .utf8)
        }
        return (text ?? "").split(separator: "\n").dropFirst(2).compactMap { $0.split(separator: ":").first }.map {
            $0.trimmingCharacters(in: .whitespaces)
        }
    }

    /// What a host has before anything is protected, without the guest's own QEMU.
    static let plainInterfaces: Set<String> = [
        "lo", LabAddresses.tap, LabAddresses.bridge, LabAddresses.hostClientLink, LabAddresses.hostReplicationLink,
        LabAddresses.hostArbiterLink,
    ]

    /// The interfaces that protection has left on a host.
    func leftInterfaces(on side: Side) -> [String] { interfaces(on: side).filter { !Self.plainInterfaces.contains($0) } }

    /// Whether the process exists and is not a zombie.
    func lives(_ pid: pid_t) -> Bool {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let end = stat.lastIndex(of: ")") else {
            return false
        }
        return stat[stat.index(after: end)...].split(separator: " ").first != "Z"
    }

    /// Connects to the guest's second monitor: QEMU listens again a moment after its last client has gone.
    func connectSecondMonitor() throws -> QMPClient {
        var client: QMPClient?
        try wait(seconds: 60, for: "the second monitor") {
            client = try? QMPClient(socketPath: secondMonitor)
            return client != nil
        }
        return try #require(client)
    }
}
