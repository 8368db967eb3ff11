import Glibc
import LinuxShim
import Testing

@testable import QMP

@Suite(.serialized) struct QMPClientTests {
    private func code(_ body: () throws -> Void) -> QMPError.Code? { #expect(throws: QMPError.self) { try body() }?.code }

    @Test func aMissingSocketIsAConnectError() {
        #expect(code { _ = try QMPClient(socketPath: "/tmp/understudy-no-such-socket") } == .connectFailed)
        #expect(code { _ = try QMPClient(socketPath: String(repeating: "x", count: 200)) } == .connectFailed)
    }

    @Test func aSilentPeerIsNoGreeting() throws {
        let peer = try FakeMonitor { _ = $0.hear() }
        let error = #expect(throws: QMPError.self) { try QMPClient(socketPath: peer.path, greetingTimeout: .milliseconds(200)) }
        #expect(error?.code == .noGreeting)
        #expect(error?.message.contains("another client holds it: add a second -qmp") == true)
    }

    @Test(arguments: ["hello\n", "[]\n", "{}\n", "\n", "{\"QMP\": 5}\n", "QEMU 7.2.22 monitor - type 'help'\r\n(qemu) \n"])
    func aPeerThatDoesNotSpeakQMPIsAnError(greeting: String) throws {
        let peer = try FakeMonitor { $0.say(greeting) }
        #expect(code { _ = try QMPClient(socketPath: peer.path) } == .protocolViolation)
    }

    @Test func anEndlessLineIsAnError() throws {
        let peer = try FakeMonitor { connection in
            connection.greet()
            connection.say([UInt8](repeating: UInt8(ascii: "x"), count: 17 << 20))
        }
        let client = try QMPClient(socketPath: peer.path)
        #expect(code { _ = try client.receive(timeout: .seconds(60)) } == .protocolViolation)
        #expect(code { _ = try client.receive(timeout: .seconds(60)) } == .protocolViolation, "the failure stays")
        client.close()
    }

    @Test func theEndOfTheConnectionIsClosedAfterTheLastMessage() throws {
        let peer = try FakeMonitor { connection in
            connection.greet()
            connection.say("{\"event\": \"SHUTDOWN\"}\r\n{\"half")
        }
        let client = try QMPClient(socketPath: peer.path)
        #expect(try client.receive(timeout: .seconds(60)) == .event(QMPEvent(name: "SHUTDOWN")))
        #expect(code { _ = try client.receive(timeout: .seconds(60)) } == .closed)
        #expect(code { try client.execute("query-status") } == .closed)
    }

    @Test func eventsDuringACommandAreKeptInOrderWithTheirTimes() throws {
        let peer = try FakeMonitor { connection in
            connection.greet()
            let request = connection.hear()
            connection.say(#"{"timestamp": {"seconds": 2, "microseconds": 5}, "event": "STOP"}"# + "\r\n")
            connection.say(#"{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "RESUME", "data": {"a": 1}}"# + "\r\n")
            connection.answer(request, ["value": 7])
            _ = connection.hear()
        }
        let client = try QMPClient(socketPath: peer.path)
        #expect(client.version == QMPVersion(major: 7, minor: 2, micro: 22, package: "Debian"))
        #expect(try client.execute("anything")["value"]?.int == 7)
        #expect(
            client.takeEvents() == [
                QMPEvent(name: "STOP", timestampMicroseconds: 2_000_005), QMPEvent(name: "RESUME", data: ["a": 1]),
            ])
        #expect(client.takeEvents().isEmpty)
        client.close()
    }

    @Test func aLateReplyIsNeverTakenForTheNextOne() throws {
        let peer = try FakeMonitor { connection in
            connection.greet()
            let first = connection.hear()
            let second = connection.hear()
            connection.answer(first, "late")
            connection.answer(second, "right")
            _ = connection.hear()
        }
        let client = try QMPClient(socketPath: peer.path)
        #expect(code { try client.execute("slow", timeout: .milliseconds(100)) } == .timeout)
        #expect(try client.execute("next").string == "right")
        #expect(try client.receive(timeout: .zero) == nil)
        client.close()
    }

    @Test func aReplyToAnEarlierCommandIsKeptForReceive() throws {
        let peer = try FakeMonitor { connection in
            connection.greet()
            let first = connection.hear()
            let second = connection.hear()
            connection.answer(first, 1)
            connection.answer(second, 2)
            _ = connection.hear()
        }
        let client = try QMPClient(socketPath: peer.path)
        try client.send("first")
        #expect(try client.execute("second").int == 2)
        #expect(client.hasBufferedMessage)
        #expect(try client.receive(timeout: .zero) == .reply(.success(1)))
        #expect(!client.hasBufferedMessage)
        client.close()
    }

    @Test func aFailureCarriesQEMUsClassAndWords() throws {
        let peer = try FakeMonitor { connection in
            connection.greet()
            let request = connection.hear()
            let error: JSONValue = ["class": "CommandNotFound", "desc": "The command x has not been found"]
            connection.say(JSONValue.object(["error": error, "id": request?["id"] ?? nil]).serialized() + [10])
            _ = connection.hear()
        }
        let client = try QMPClient(socketPath: peer.path)
        let error = #expect(throws: QMPError.self) { try client.execute("x") }
        #expect(error?.code == .commandFailed && error?.errorClass == "CommandNotFound")
        #expect(error?.message.contains("has not been found") == true)
        client.close()
    }

    @Test func nonsenseInMidConversationIsAnErrorAndNoCrash() throws {
        for nonsense in ["{\"neither\": 1}\n", "5\n", "\u{0}\n", "{\"error\": 3}\n"] {
            let peer = try FakeMonitor { connection in
                connection.greet()
                connection.say(nonsense)
                _ = connection.hear()
            }
            let client = try QMPClient(socketPath: peer.path)
            #expect(code { _ = try client.receive(timeout: .seconds(60)) } == .protocolViolation)
            client.close()
        }
    }

    @Test func aPassedDescriptorArrivesAndStaysOpenHere() throws {
        var ends: (CInt, CInt) = (-1, -1)
        #expect(understudy_make_pipe(&ends.0, &ends.1) == 0)
        defer {
            close(ends.0)
            close(ends.1)
        }
        let peer = try FakeMonitor { connection in
            connection.greet()
            var bytes = [UInt8](repeating: 0, count: 4096)
            var passed: CInt = -1
            var polled = pollfd(fd: connection.descriptor, events: Int16(POLLIN), revents: 0)
            poll(&polled, 1, 60_000)
            let count = understudy_receive_with_descriptor(connection.descriptor, &bytes, bytes.count, &passed)
            write(passed, "x", 1)
            close(passed)
            connection.answer(try? JSONValue(parsing: bytes[..<max(0, count - 1)]))
            _ = connection.hear()
        }
        let client = try QMPClient(socketPath: peer.path)
        try client.execute("add-fd", passing: ends.1)
        var byte: UInt8 = 0
        #expect(read(ends.0, &byte, 1) == 1)
        #expect(fcntl(ends.1, F_GETFD) >= 0)
        client.close()
    }

    @Test func thePeerIsTheProcessThatListens() throws {
        let peer = try FakeMonitor { connection in
            connection.greet()
            _ = connection.hear()
        }
        let client = try QMPClient(socketPath: peer.path)
        #expect(try client.peerCredentials().processID == getpid())
        client.close()
    }
}
