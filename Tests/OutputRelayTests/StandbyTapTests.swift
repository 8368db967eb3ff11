import Glibc
import OutputRelay
import Testing
import UnderstudyCore

@Suite(.serialized, .enabled(if: TestNetwork.isPossible, "needs root and /dev/net/tun"))
struct StandbyTapTests {
    @Test func `A waiting standby's tap is a forwarding port of its bridge with an address of its own`() throws {
        try TestNetwork.run { _ in
            let tap = try StandbyTap.create(name: "standby", bridge: "br0")
            #expect(try !tap.isForwarding())
            let guest = try TestPort(tap: "standby")
            try TestNetwork.awaitForwarding("standby")
            #expect(try tap.isForwarding())
            let interface = try NetworkInterface.named("standby")
            #expect(interface.kind == .tap && interface.bridge == "br0" && interface.isUp)
            #expect(interface.address.first == 0xfe)
            #expect(interface.address != TestNetwork.guestAddress)
            withExtendedLifetime(guest) {}
            try tap.remove()
        }
    }

    @Test func `Frames flooded to a deaf tap are not delivered when it opens`() throws {
        try TestNetwork.run { network in
            let tap = try StandbyTap.create(name: "standby", bridge: "br0")
            let guest = try TestPort(tap: "standby")
            try TestNetwork.awaitForwarding("standby")
            let source: [UInt8] = [2, 2, 2, 2, 2, 2]
            try network.client.send(0..<2000, from: source)
            #expect(network.guest.numbers(quiet: 200).count > 0, "the bridge floods nothing, so the test proves nothing")
            #expect(tap.droppedFrames >= 2000)
            tap.open()
            #expect(guest.numbers(quiet: 200).isEmpty)
            try network.client.send(5000..<5005, from: source)
            #expect(guest.numbers(5) == Array(5000..<5005))
            try tap.remove()
        }
    }

    @Test func `An ordinary tap delivers frames from before (negative control)`() throws {
        try TestNetwork.run { network in
            try network.client.send(0..<100, from: [2, 2, 2, 2, 2, 2])
            #expect(network.guest.numbers(100) == Array(0..<100))
        }
    }

    @Test func `A mute tap lets nothing out until it opens`() throws {
        try TestNetwork.run { network in
            let tap = try StandbyTap.create(name: "standby", bridge: "br0")
            let guest = try TestPort(tap: "standby")
            try TestNetwork.awaitForwarding("standby")
            try guest.send(0..<10)
            #expect(network.client.numbers(quiet: 200).isEmpty)
            #expect(try !TestNetwork.output("bridge fdb show br br0").contains("52:54:00:12:34:56"))
            tap.open()
            try guest.send(10..<20)
            #expect(network.client.come(inOrder: 10..<20))
            try tap.removeClassifiers()
            try guest.send(20..<22)
            #expect(network.client.numbers(2) == [20, 21])
            try tap.remove()
        }
    }

    @Test func `An opened tap can be gated in its turn`() throws {
        try TestNetwork.run { network in
            let tap = try StandbyTap.create(name: "standby", bridge: "br0")
            let guest = try TestPort(tap: "standby")
            try TestNetwork.awaitForwarding("standby")
            tap.open()
            let relay = try OutputRelay.prepare(tap: "standby", identity: "vm")
            try relay.insert()
            try guest.send(0..<3)
            #expect(try relay.seal(epoch: 1).frames == 3)
            #expect(network.client.numbers(quiet: 100).isEmpty)
            try relay.release(through: 1)
            #expect(network.client.numbers(3) == [0, 1, 2])
            try relay.openAndRemove()
            try tap.remove()
        }
    }

    @Test func `A forgotten tap stays deaf, and only a standby's tap is removed by name`() throws {
        try TestNetwork.run { network in
            _ = try StandbyTap.create(name: "standby", bridge: "br0", queues: 2)
            #expect(throws: OutputRelayError.self) { try StandbyTap.create(name: "standby", bridge: "br0") }
            #expect(throws: OutputRelayError.self) { try StandbyTap.create(name: "other", bridge: "br1") }
            #expect(try NetworkInterface.find("other") == nil)
            try StandbyTap.remove(name: "standby")
            try StandbyTap.remove(name: "standby")
            #expect(try NetworkInterface.find("standby") == nil)
            #expect(throws: OutputRelayError.self) { try StandbyTap.remove(name: "guest") }
            try network.guest.send(0..<1)
            #expect(network.client.numbers(1) == [0])
        }
    }

    @Test func `A standby's tap that a QEMU has open is not taken for a left one`() throws {
        try TestNetwork.run { _ in
            _ = try StandbyTap.create(name: "standby", bridge: "br0")
            var guest: TestPort? = try TestPort(tap: "standby")
            try TestNetwork.awaitForwarding("standby")
            let error = #expect(throws: OutputRelayError.self) { try StandbyTap.remove(name: "standby", patience: .zero) }
            #expect(error?.code == .gateInUse)
            #expect(try NetworkInterface.find("standby") != nil)
            withExtendedLifetime(guest) {}
            guest = nil
            try StandbyTap.remove(name: "standby")
            #expect(try NetworkInterface.find("standby") == nil)
        }
    }

    @Test func `Interfaces are told apart`() throws {
        try TestNetwork.run { _ throws in
            #expect(try NetworkInterface.kind(of: "guest") == .tap)
            #expect(try NetworkInterface.kind(of: "v0") == .other("veth"))
            #expect(try NetworkInterface.kind(of: "br0") == .other("bridge"))
            #expect(try NetworkInterface.bridge(of: "guest") == "br0")
            #expect(try NetworkInterface.bridge(of: "v1") == nil)
        }
    }
}
