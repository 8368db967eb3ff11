import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// A QMP peer that speaks the protocol and lies: QEMU may be in the hands of its guest.
@Suite(.serialized, .enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct LyingMonitorTests {
    /// Answers that have the right shape and impossible values, by command.
    private static let shaped: [String: [String]] = [
        "query-memory-size-summary": [#"{"base-memory": 18446744073709551615, "plugged-memory": 18446744073709551615}"#],
        "query-status": [#"{"status": "running", "running": true}"#, #"{"status": "\u0000"}"#],
        "query-memdev": [#"[{"id": "x", "size": 18446744073709551615, "share": true}]"#],
        "query-block": [#"[{"device": "", "inserted": {"ro": true}}]"#],
        "query-migrate": [#"{"blocked-reasons": [1, {}, "x"]}"#, "{}"],
        "human-monitor-command": [
            #""Block Name PSize Offset Used Total\n pc.ram 4 KiB 0x0 0xffffffffffffffff 0xffffffffffffffff\n""#,
            #""Block Name PSize Offset Used Total\n a.rom 4 KiB 0x0 0xfffffffffffff000 0xffffffffffffffff\n""#,
            #""Block Name PSize Offset Used Total HVA RO\n pc.ram 4 KiB 0x0 0x1000 0x1000 0xfffffffffffff000 rw\n""#,
            #""Block Name PSize Offset Used Total\n pc.ram 4 KiB 0x0 0x200000 0x200000\n""#,
            #""Host virtual address for 0x0 (pc.ram) is 0xffffffffffffffff\n""#,
        ],
    ]
    private static let shapeless = [
        "null", "5", "-1", "18446744073709551615", "1e300", "[]", "{}", "\"x\"", #"[{"thread-id": -1}]"#, #"{"status": 5}"#,
        String(repeating: "[", count: 400) + String(repeating: "]", count: 400),
    ]

    @Test func aMonitorThatLiesIsRefusedAndTheDaemonServesOn() throws {
        let daemon = try RunningDaemon()
        let path = "\(daemon.folder)/liar.sock"
        let seed = Seed.ofThisRun
        print("lying monitor: seed \(seed)")
        let peer = try ScriptedSocket(path: path) { connection in
            var numbers = SeededBytes(seed: seed &+ UInt64(connection.descriptor) &+ UInt64(clock()))
            Self.lie(on: connection, &numbers)
        }
        for _ in 0..<30 {
            guard case .check(let report) = try daemon.perform(.check(CheckRequest(qmp: path, backup: "alpha"))) else {
                Issue.record("no report")
                return
            }
            #expect(report.lines.contains { $0.requirement.hasPrefix("machine") && $0.state == .failed })
        }
        // The process behind the lies is this one, which has neither a guest nor a tap: nothing may have touched it.
        for _ in 0..<10 {
            let request = ProtectRequest(name: "liar", qmp: path, backup: "beta", intervalMilliseconds: 25)
            #expect(daemon.failure(of: .protect(request)) != nil)
        }
        #expect(daemon.process.isRunning)
        withExtendedLifetime(peer) {}
    }

    private static func lie(on connection: ScriptedSocket.Connection, _ numbers: inout SeededBytes) {
        connection.say(WrongSocketTests.greeting)
        while let line = connection.line() {
            guard let request = try? JSONSerialization.jsonObject(with: Data(line)) as? [String: Any],
                let command = request["execute"] as? String, let id = request["id"] as? Int
            else { return }
            connection.say("{\"return\": \(answer(to: command, &numbers)), \"id\": \(id)}\r\n")
        }
    }

    private static func answer(to command: String, _ numbers: inout SeededBytes) -> String {
        if command == "qmp_capabilities" { return "{}" }
        // Mostly a thread of this very process, so that the questions go on.
        if command == "query-cpus-fast", numbers.chance(of: 9, in: 10) { return "[{\"thread-id\": \(getpid())}]" }
        if command == "qom-get", numbers.chance(of: 9, in: 10) { return "\"pc-q35-7.2-machine\"" }
        if let answers = shaped[command], numbers.chance(of: 9, in: 10) { return numbers.element(of: answers) }
        return numbers.element(of: shapeless)
    }
}
