import Glibc
import Testing

@testable import OutputRelay

@Suite(.serialized, .enabled(if: TestNetwork.isPossible, "needs root and /dev/net/tun"))
struct GateTrialTests {
    @Test func `A trial of the gate succeeds beside a guest's tap and leaves no interface`() throws {
        try TestNetwork.run { _ in
            let before = try TestNetwork.output("ip -o link | cut -d: -f2")
            for _ in 0..<3 { try GateTrial.run() }
            #expect(try TestNetwork.output("ip -o link | cut -d: -f2") == before)
        }
    }

    @Test func `A gate that does not count as it should is found (negative control)`() throws {
        try TestNetwork.run { _ in
            #expect(throws: OutputRelayError.self) { try GateTrial.run(frames: 2) }
        }
    }
}
