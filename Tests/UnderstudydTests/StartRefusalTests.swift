import Demonstration
import Foundation
import Glibc
import HostAPI
import Testing

/// What keeps a daemon from starting is said in one sentence, with an exit code that the manual names.
@Suite(.serialized, .enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct StartRefusalTests {
    private func exit(_ changes: @escaping (String) -> String) throws -> (code: Int32, log: String) {
        let daemon = try RunningDaemon(waiting: false, changes: changes)
        guard let status = daemon.process.wait(milliseconds: 120_000) else { throw DaemonFailure("it runs: \(daemon.log)") }
        return (status >> 8 & 0xff, daemon.log)
    }

    @Test func aKeyOfAnotherCertificateIsNamed() throws {
        let (code, log) = try exit { text in
            text.split(separator: "\n").map {
                $0.hasPrefix("key = ") ? String($0).replacing("alpha.key", with: "authority.key") : String($0)
            }
            .joined(separator: "\n")
        }
        #expect(code == 78 && log.contains("authority.key"), "\(log)")
    }

    @Test func aFileThatIsNoCertificateIsNamed() throws {
        let (code, log) = try exit { $0.replacing("alpha.pem", with: "understudyd.toml") }
        #expect(code == 78 && log.contains("understudyd.toml"), "\(log)")
    }

    @Test func aPortInUseIsNamed() throws {
        let (descriptor, port) = try FreePort.listen()
        defer { close(descriptor) }
        let (code, log) = try exit { text in
            text.split(separator: "\n", omittingEmptySubsequences: false)
                .map { $0.hasPrefix("listen") ? "listen = \"127.0.0.1:\(port)\"" : String($0) }.joined(separator: "\n")
        }
        #expect(code == 70 && log.contains("\(port)") && log.contains("free the port"), "\(log)")
    }

    @Test func aSecondDaemonAtTheSameSocketIsRefusedAndTheFirstServesOn() throws {
        let first = try RunningDaemon()
        let (code, log) = try exit { text in
            text.split(separator: "\n", omittingEmptySubsequences: false)
                .map { $0.hasPrefix("socket") ? "socket = \"\(first.socket)\"" : String($0) }.joined(separator: "\n")
        }
        #expect(code == 70 && log.contains("another understudyd answers at \(first.socket)"), "\(log)")
        _ = try first.machines()
    }
}
