import Foundation
import Glibc
import HostAPI
import Testing

/// A socket that is not what the operator takes it for, on either side of the daemon.
@Suite(.serialized, .enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct WrongSocketTests {
    static let greeting =
        #"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"# + "\r\n"

    /// Starts whatever a test case wants at a path.
    private func listen(_ words: String, at path: String) throws -> ScriptedSocket {
        try ScriptedSocket(path: path) { connection in
            connection.say(words)
            connection.hang()
        }
    }

    @Test func theClientNamesASocketThatIsNotTheDaemons() throws {
        let daemon = try RunningDaemon()
        let path = "\(daemon.folder)/other.sock"
        for command in [["status"], ["check"], ["events", "--no-follow"], ["unprotect", "x"]] {
            let (status, output) = try daemon.understudy(command, socket: path)
            #expect(status == 2 && output.contains("does not answer at \(path)"), "\(output)")
        }
        try Data("text".utf8).write(to: URL(fileURLWithPath: path))
        #expect(try daemon.understudy(["status"], socket: path).status == 2)
        unlink(path)
        let monitor = try listen(Self.greeting, at: path)
        for command in [["status"], ["protect", "x", "--backup", "beta", "--qmp", "/nowhere"]] {
            let (status, output) = try daemon.understudy(command, socket: path)
            #expect(status == 2 && output.contains("is not understudyd of this version"), "\(output)")
        }
        withExtendedLifetime(monitor) {}
    }

    @Test(arguments: [HostRequest.status, .unprotect(name: "x"), .events(follow: true)])
    func aSilentSocketIsGivenUp(_ request: HostRequest) throws {
        let path = "/tmp/understudyd-silent-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        defer { unlink(path) }
        let silent = try ScriptedSocket(path: path) { $0.hang() }
        let dripping = #expect(throws: HostAPIError.self) {
            try HostClient(socketPath: path, patience: .milliseconds(100)).perform(request)
        }
        #expect(dripping?.code == "daemon-silent" && dripping?.message.contains(path) == true)
        withExtendedLifetime(silent) {}
    }

    /// What `--qmp` may name by mistake, and words that the message must hold.
    private static let mistaken: [(words: String?, said: String)] = [
        (nil, "understudyd.sock"), ("QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) \r\n", "is it a QMP socket"),
        ("\u{0}\u{1}\u{2}\n", "is it a QMP socket"), ("{}\n", "is it a QMP socket"),
        (String(repeating: "x", count: 17 << 20), "this is not QEMU"), ("", "no greeting"),
    ]

    @Test func aSocketThatIsNoMonitorIsNamedAndTheDaemonServesOn() throws {
        let daemon = try RunningDaemon()
        let (missing, output) = try daemon.understudy(["protect", "vm", "--qmp", "/nowhere/qmp", "--backup", "beta"])
        #expect(missing == 1 && output.contains("/nowhere/qmp"), "\(output)")
        for (index, mistake) in Self.mistaken.enumerated() {
            let path = mistake.words == nil ? daemon.socket : "\(daemon.folder)/\(index).sock"
            let peer = try mistake.words.map { try listen($0, at: path) }
            for command in [["check", "--qmp", path], ["protect", "vm", "--qmp", path, "--backup", "beta"]] {
                let (status, output) = try daemon.understudy(command)
                #expect(status == 1 && output.contains(path) && output.contains(mistake.said), "\(command): \(output)")
            }
            #expect(try daemon.machines().first?.state == .failed)
            #expect(daemon.log.contains(path), "the log says it too")
            withExtendedLifetime(peer) {}
        }
    }

    @Test func aMonitorThatHangsIsGivenUp() throws {
        let daemon = try RunningDaemon()
        let path = "\(daemon.folder)/hanging.sock"
        let peer = try ScriptedSocket(path: path) { connection in
            connection.say(Self.greeting)
            _ = connection.line()
            connection.say("{\"return\": {}, \"id\": 1}\r\n")
            connection.hang()
        }
        let (status, output) = try daemon.understudy(["protect", "vm", "--qmp", path, "--backup", "beta"])
        #expect(status == 1 && output.contains("it hangs, is stopped, or the host is overloaded"), "\(output)")
        #expect(daemon.log.contains("it hangs, is stopped"))
        withExtendedLifetime(peer) {}
    }

    @Test func ofTwoProtectsAtOnceOneIsRefused() throws {
        let daemon = try RunningDaemon()
        let path = "\(daemon.folder)/slow.sock"
        let asked = DispatchSemaphore(value: 0)
        let goOn = DispatchSemaphore(value: 0)
        let peer = try ScriptedSocket(path: path) { _ in
            asked.signal()
            goOn.wait()
        }
        let socket = daemon.socket
        let ended = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            let request = ProtectRequest(name: "vm", qmp: path, backup: "beta", intervalMilliseconds: 25)
            #expect(throws: HostAPIError.self) { try HostClient(socketPath: socket).perform(.protect(request)) }
            ended.signal()
        }
        asked.wait()
        for arguments in [["--qmp", path], ["--qmp", "/nowhere"], []] {
            let (status, output) = try daemon.understudy(["protect", "vm", "--backup", "beta"] + arguments)
            #expect(status == 1 && output.contains("known to this host already"), "\(arguments): \(output)")
        }
        goOn.signal()
        ended.wait()
        // The name is free again.
        let (status, output) = try daemon.understudy(["protect", "vm", "--backup", "beta", "--qmp", "/nowhere"])
        #expect(status == 1 && output.contains("/nowhere"), "\(output)")
        withExtendedLifetime(peer) {}
    }
}
