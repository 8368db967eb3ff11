import Glibc
import QMP
import Testing

@testable import Hypervisor

struct GuestAgentChannelTests {
    private static let port = "virtserialport,bus=s.0,chardev=agent,name=org.qemu.guest_agent.0"

    private func find(_ filename: String, port: String = Self.port, opened: Bool = true) -> GuestAgentChannel? {
        GuestAgentChannel.find(
            arguments: ["qemu", "-device", port], workingDirectory: "/cwd",
            devices: [
                ["label": "other", "filename": "disconnected:unix:/other,server=on", "frontend-open": true],
                ["label": "agent", "filename": .string(filename), "frontend-open": .bool(opened)],
            ])
    }

    @Test func `the port is free only when nobody is connected and somebody in the guest has opened it`() {
        #expect(find("disconnected:unix:/a,server=on") == GuestAgentChannel(path: "/a", state: .free))
        #expect(find("disconnected:unix:a,server=on") == GuestAgentChannel(path: "/cwd/a", state: .free))
        #expect(find("unix:/a,server=on") == GuestAgentChannel(path: "/a", state: .inUse))
        #expect(find("disconnected:unix:/a,server=on", opened: false)?.state == .unopened)
        let json = #"{"driver":"virtserialport","chardev":"agent","name":"org.qemu.guest_agent.0"}"#
        #expect(find("disconnected:unix:/a,server=on", port: json)?.state == .free)
    }

    @Test func `other ports and other back ends are none`() {
        #expect(find("pty:/dev/pts/1") == nil)
        #expect(find("disconnected:unix:/a,server=on", port: "virtserialport,chardev=agent,name=com.redhat.spice.0") == nil)
        #expect(find("disconnected:unix:/a,server=on", port: "virtserialport,chardev=gone,name=org.qemu.guest_agent.0") == nil)
    }

    @Test(.enabled(if: TestMachine.isAvailable, "needs root and QEMU"))
    func `a real QEMU shows whether somebody is connected`() throws {
        let path = "/tmp/understudy-agent-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        defer { unlink(path) }
        let machine = try TestMachine([
            "-device", "virtio-serial-pci,id=s", "-chardev", "socket,id=agent,path=\(path),server=on,wait=off", "-device", Self.port,
        ])
        let qmp = try machine.connect()
        let found = { try GuestAgentChannel.find(in: qmp, processID: machine.process) }
        #expect(try found() == GuestAgentChannel(path: path, state: .unopened))
        let client = try GuestAgent(socketPath: path)
        let end = ContinuousClock.now + .seconds(60)
        while try found()?.state != .inUse, ContinuousClock.now < end { usleep(10_000) }
        #expect(try found()?.state == .inUse)
        withExtendedLifetime(client) {}
    }
}
