internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import QMP

/// Examines whether this host, a machine and a backup are fit, by trying what protection will do. No machine is touched.
struct HostCheck {
    let context: HostContext
    let keys: SessionKeys

    func run(_ request: CheckRequest) -> CheckReport {
        var lines = ownLines
        var machine: MachineDescription?
        if let path = request.qmp {
            let (described, found) = examine(machineAt: path)
            machine = described
            lines += found
        }
        let peers = request.backup.map { [$0] } ?? context.configuration.peers.map(\.name)
        if peers.isEmpty {
            lines.append(.init("peers", .failed, "no [[peers]] are configured", remedy: "name the other host in the configuration"))
        }
        for peer in peers { lines += survey(peer, machine: machine) }
        return CheckReport(host: context.configuration.name, lines: lines)
    }

    /// What concerns this host alone; also this host's part of another host's check.
    var ownLines: [CheckReport.Line] {
        [
            kernel, privilege, ownTracking, foreignTracking, tun, gate, kvm, qemu(nil), runtimeFolder, stateFolder,
            context.certificates.check(),
        ]
            + [arbiter]
    }

    /// A line of something that is tried: `ok` when nothing is thrown.
    func trial(_ requirement: String, _ tried: String, remedy: String, _ body: () throws -> Void) -> CheckReport.Line {
        do {
            try body()
            return .init(requirement, .ok, tried)
        } catch {
            return .init(requirement, .failed, "\(error)", remedy: remedy)
        }
    }

    private func examine(machineAt path: String) -> (MachineDescription?, [CheckReport.Line]) {
        do {
            let qmp = try QMPClient(socketPath: path)
            defer { qmp.close() }
            let machine = try MachineDescription.read(from: qmp)
            let refusals = Hypervisor.refusals(machine: machine, host: try HostFacts.gather(for: machine))
            let found = "QEMU \(machine.version), \(machine.machineType), \(machine.ramBlocks.count) RAM blocks, pid \(machine.process.id)"
            let lines = refusals.map { CheckReport.Line("machine: \($0.code.rawValue)", .failed, $0.what, remedy: $0.remedy) }
            return (machine, [.init("machine", .ok, found)] + lines)
        } catch {
            let remedy = "name the Unix socket of a free QMP monitor of a running QEMU"
            return (nil, [.init("machine", .failed, "\(error)", remedy: remedy)])
        }
    }
}
