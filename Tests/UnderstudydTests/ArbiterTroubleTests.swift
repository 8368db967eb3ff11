import Demonstration
import Foundation
import Glibc
import HostAPI
import Links
import Testing

@testable import HostDaemon

/// An arbiter that lies, speaks something else, or says nothing.
@Suite(.serialized, .enabled(if: RunningDaemon.isPossible, "needs root, openssl and the built programs"))
struct ArbiterTroubleTests {
    private static let http = "HTTP/1.0 200 OK\r\nContent-Length: "
    private static let answers: [String?] = [
        nil, "", "SSH-2.0-OpenSSH_9\r\n", "HTTP/1.0 500 Internal Server Error\r\n\r\n", http + "2\r\n\r\n{}",
        http + "60\r\n\r\n{\"header\":{\"revision\":\"2\"},\"kvs\":[{\"key\":\"eA==\",\"value\":\"e30\"}]}",
    ]

    @Test func anEtcdThatLiesOrHangsIsToldWithTheRemedyAndTheDaemonServesOn() throws {
        for answer in Self.answers {
            let etcd = try ScriptedSocket { connection in
                _ = connection.line()
                if let answer { connection.say(answer) } else { connection.hang() }
            }
            let daemon = try RunningDaemon(arbiter: "etcd = [\"http://127.0.0.1:\(etcd.port)\"]")
            let (status, output) = try daemon.understudy(["check"])
            #expect(status == 1 && output.contains("FAILED  arbiter") && output.contains("start etcd, or correct `arbiter`"), "\(output)")
            // A backup must not prepare anything on the word of an arbiter that it cannot ask.
            let peer = try ControlPeer(to: daemon, as: try daemon.certificate())
            var wish = ControlPeer.preparation()
            wish.arbiterNonce = nil
            try peer.channel.send(ControlMessage.prepare(wish).encoded())
            try daemon.wait(for: "the refusal") { peer.refusal != nil }
            #expect(peer.refusal?.contains("this host's arbiter does not") == true, "\(peer.refusal ?? "")")
            #expect(daemon.log.contains("this host's arbiter does not"))
            withExtendedLifetime(etcd) {}
        }
    }
}
