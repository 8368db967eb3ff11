import Glibc
import OutputRelay
import Testing
import UnderstudyCore

@Suite(.serialized, .enabled(if: TestNetwork.isPossible, "needs root and /dev/net/tun"))
struct OutputRelayFaultTests {
    /// The name of the relay's tap that begins with `prefix`.
    private func tap(_ prefix: String) throws -> String {
        let links = try TestNetwork.output("ip -o link").split(separator: "\n")
        let name = links.map { $0.split(separator: " ")[1].dropLast() }.first { $0.hasPrefix(prefix) }
        return String(try #require(name))
    }

    @Test func `A destroyed IN tap is reported by the next seal, and the gate stays closed`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try TestNetwork.command("ip link del \(tap("us-in"))")
            try network.guest.send(0..<5)
            #expect(throws: OutputRelayError.self) { try relay.seal(epoch: 1) }
            #expect(throws: OutputRelayError.self) { try relay.open() }
            #expect(network.client.numbers(quiet: 200).isEmpty)
            relay.abandon()
            #expect(try #require(try LeftoverRelay.find(tap: "guest")).isClosed)
        }
    }

    @Test func `An OUT tap that is taken down holds the frames back, and they leave when it is up again`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<5)
            _ = try relay.seal(epoch: 1)
            let output = try tap("us-out")
            try TestNetwork.command("ip link set \(output) down")
            #expect(throws: OutputRelayError.self) { try relay.release(through: 1) }
            #expect(try relay.statistics().heldFrames == 5)
            try TestNetwork.command("ip link set \(output) up")
            #expect(try relay.release(through: 1).frames == 5)
            #expect(network.client.come(inOrder: 0..<5))
            try relay.openAndRemove()
        }
    }

    @Test func `A guest's tap that has gone with its QEMU lets the relay end in order`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<5)
            _ = try relay.seal(epoch: 1)
            try TestNetwork.command("ip link del guest")
            try relay.release(through: 1)
            #expect(try relay.statistics().undeliveredFrames == 5)
            try relay.openAndRemove()
            #expect(throws: OutputRelayError.self) { try LeftoverRelay.find(tap: "guest") }
            #expect(network.client.numbers(quiet: 100).isEmpty)
        }
    }

    @Test func `Sealing, releasing and asking for statistics from several threads keeps every frame, once and in order`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            let release = try Repeat {
                _ = try relay.statistics()
                usleep(100)
            }
            var sent: UInt64 = 0
            for epoch in 1...300 as ClosedRange<UInt64> {
                try network.guest.send(sent..<(sent + 10))
                sent += 10
                _ = try relay.seal(epoch: epoch)
                try relay.release(through: epoch)
            }
            #expect(release.stop() == nil)
            #expect(network.client.come(inOrder: 0..<sent))
            try relay.openAndRemove()
        }
    }
}
