import Glibc
import Testing

@testable import QMP

struct GuestAgentTests {
    /// The client goes before the server, whose end waits for it.
    private func talk(to fake: FakeMonitor, _ body: (GuestAgent) throws -> Void) throws {
        try body(try GuestAgent(socketPath: fake.path))
        withExtendedLifetime(fake) {}
    }

    /// An agent in the manner of qemu-ga: it answers what it is asked, after what an earlier client left.
    private func agent(
        leftOver: [UInt8] = [], time: Int64 = 1_000_000_000, refusing: Bool = false, times: @escaping @Sendable (Int64) -> Void = { _ in }
    ) throws
        -> FakeMonitor
    {
        try FakeMonitor { connection in
            connection.say(leftOver)
            while let request = connection.hearAgentRequest() {
                switch request["execute"]?.string {
                case "guest-sync-delimited":
                    connection.say([0xFF] + JSONValue.object(["return": request["arguments"]?["id"] ?? nil]).serialized() + [10])
                case "guest-get-time": connection.say("{\"return\": \(time)}\n")
                case "guest-set-time" where refusing:
                    connection.say("{\"error\": {\"class\": \"GenericError\", \"desc\": \"hwclock failed\"}}\n")
                case "guest-set-time":
                    if case .int(let time)? = request["arguments"]?["time"] { times(time) }
                    connection.say("{\"return\": {}}\n")
                default: connection.say("{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"?\"}}\n")
                }
            }
        }
    }

    @Test(arguments: ["", "{\"return\": 17}\n", "half an ans", "\n\n{\"return\": {}}\n{\"ret"])
    func `whatever an earlier client left unread, the clock is read and set`(_ leftOver: String) throws {
        let fake = try agent(leftOver: Array(leftOver.utf8))
        try talk(to: fake) { agent in
            try agent.synchronise(timeout: .seconds(60))
            #expect(try agent.time(timeout: .seconds(60)) == 1_000_000_000)
            try agent.setTime(5, timeout: .seconds(60))
        }
    }

    @Test(arguments: [Int64.min, -1, 4_000_000_000_000_000_001, .max])
    func `a time that no clock shows is refused, whatever the guest says`(_ time: Int64) throws {
        try talk(to: try agent(time: time)) { agent in
            try agent.synchronise(timeout: .seconds(60))
            let error = #expect(throws: QMPError.self) { try agent.time(timeout: .seconds(60)) }
            #expect(error?.code == .protocolViolation)
        }
    }

    @Test func `a refusal is told in the agent's words`() throws {
        let fake = try agent(refusing: true)
        try talk(to: fake) { agent in
            try agent.synchronise(timeout: .seconds(60))
            let error = #expect(throws: QMPError.self) { try agent.setTime(5, timeout: .seconds(60)) }
            #expect(error?.code == .commandFailed && error?.message.contains("hwclock failed") == true)
        }
    }

    @Test func `a guest without an agent is a time-out in words`() throws {
        let fake = try FakeMonitor { connection in while connection.hearAgentRequest() != nil {} }
        try talk(to: fake) { agent in
            let error = #expect(throws: QMPError.self) { try agent.synchronise(timeout: .milliseconds(100)) }
            #expect(error?.code == .timeout && error?.message.contains("qemu-guest-agent") == true)
        }
    }
}

extension FakeMonitor.Connection {
    /// The next request of an agent's client, which may begin with a byte that is no UTF-8.
    func hearAgentRequest() -> JSONValue? {
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while recv(descriptor, &byte, 1, 0) == 1 {
            if byte == UInt8(ascii: "\n") { return try? JSONValue(parsing: line) }
            if byte == 0xFF { line = [] } else { line.append(byte) }
        }
        return nil
    }
}
