import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// Machines that the daemon starts from a definition.
@Suite(.serialized, .enabled(if: Requirements.areMet, "needs root, QEMU, etcd and the guest made by scripts/make-guest"))
struct DefinedMachineTests {
    private static let machine = "web"

    @Test func aDefinedMachineIsStartedProtectedStoppedAndComesBackWithItsHost() throws {
        let lab = try LaboratoryFailure.settingUp { try Lab.create(stateFolder: Requirements.stateFolder, prefix: "ustest") }
        defer { try? lab.destroy() }
        try LaboratoryFailure.settingUp { try lab.startArbiter() }
        var daemons = try LabDaemons.start(in: lab, program: Requirements.daemon, settings: ProtectedLab.patient)
        let definition = try definition(lab)
        guard case .definition(let started) = try daemons.first.perform(.startMachine(.init(name: nil, definition: definition))) else {
            throw SurvivalFailure("no definition came back")
        }
        let first = try #require(started.pid)
        #expect(code(of: .startMachine(.init(name: Self.machine, definition: nil)), daemons.first) == "busy")
        let elsewhere = definition.replacing("backup = \"\(lab.host2.name)\"", with: "backup = \"\(lab.host1.name)\"")
        #expect(code(of: .startMachine(.init(name: nil, definition: elsewhere)), daemons.second) == "elsewhere")
        _ = try daemons.first.perform(
            .protect(.init(name: Self.machine, qmp: nil, backup: lab.host2.name, intervalMilliseconds: 25)))
        #expect(try daemons.first.machine(Self.machine)?.qemu?.pid == first)

        // The guest does not listen to the power button.
        #expect(code(of: .stopMachine(.init(name: Self.machine, timeoutSeconds: 0.2, force: false)), daemons.first) == "timeout")
        #expect(lab.host1.processes.contains(first))
        _ = try daemons.first.perform(.stopMachine(.init(name: Self.machine, timeoutSeconds: 0.2, force: true)))
        #expect(!lab.host1.processes.contains(first))
        #expect(try lab.record(of: Self.machine) == nil)
        #expect(try listed(daemons.first)?.pid == nil)

        // Another boot of the host: the daemon starts and protects what wants it.
        kill(daemons.first.process.pid, SIGKILL)
        _ = daemons.first.process.wait(milliseconds: 60_000)
        try "another boot\n".write(toFile: "\(lab.host1.folder)/state/boot-id", atomically: true, encoding: .utf8)
        let restarted = try LabDaemons.restart(daemons.first, on: lab.host1, program: Requirements.daemon)
        daemons = LabDaemons(first: restarted, second: daemons.second)
        try wait("the machine to come back protected", lab) { (try? daemons.first.machine(Self.machine))?.state == .protected }
        let second = try #require(try listed(daemons.first)?.pid)
        #expect(second != first)
        _ = try daemons.first.perform(.stopMachine(.init(name: Self.machine, timeoutSeconds: 0.2, force: true)))
        _ = try daemons.first.perform(.removeDefinition(name: Self.machine))
        #expect(try listed(daemons.first) == nil)
    }

    private func definition(_ lab: Lab) throws -> String {
        let launch = GuestLaunch(image: try GuestImage.cached(), dirtyPages: 50)
        var arguments = launch.arguments(tap: LabAddresses.tap, qmp: "", serial: "\(lab.host1.folder)/guest.serial")
        let monitor = try #require(arguments.firstIndex(of: "-qmp"))
        arguments.removeSubrange(monitor...monitor + 1)
        let quoted = arguments.dropFirst().map { "\"\($0)\"" }.joined(separator: ", ")
        return """
            name = "\(Self.machine)"
            qemu = "\(arguments[0])"
            arguments = [\(quoted)]
            backup = "\(lab.host2.name)"
            autostart = true
            settle-s = 0
            """
    }

    private func code(of request: HostRequest, _ daemon: LabDaemons.Daemon) -> String? {
        do throws(HostAPIError) {
            _ = try daemon.perform(request)
            return nil
        } catch {
            return error.code
        }
    }

    private func listed(_ daemon: LabDaemons.Daemon) throws -> MachineDefinitionStatus? {
        guard case .definitions(let machines) = try daemon.perform(.definitions) else { return nil }
        return machines.first { $0.name == Self.machine }
    }

    private func wait(_ what: String, _ lab: Lab, seconds: Double = 120, until condition: () -> Bool) throws {
        let end = MonotonicTime.now() + UInt64(seconds * 1e9)
        while !condition() {
            guard MonotonicTime.now() < end else {
                let log = try String(contentsOfFile: "\(lab.host1.folder)/understudyd.log", encoding: .utf8)
                throw SurvivalFailure("waited in vain for \(what)\n\(log.suffix(3000))")
            }
            usleep(10_000)
        }
    }
}
