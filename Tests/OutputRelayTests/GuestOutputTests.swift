import Glibc
import OutputRelay
import Testing
import UnderstudyCore

/// Several network cards of one guest behave as one gate.
@Suite(.serialized, .enabled(if: TestNetwork.isPossible, "needs root and /dev/net/tun"))
struct GuestOutputTests {
    /// A second card of the guest, in a bridge of its own unless said otherwise.
    private final class SecondCard {
        let port: TestPort
        let client: TestPort

        init(bridge: String = "br1") throws {
            try TestNetwork.command("ip link add \(bridge) type bridge mcast_snooping 0")
            try TestNetwork.command("ip link set \(bridge) up")
            try TestNetwork.command("ip link add w0 type veth peer name w1")
            try TestNetwork.command("ip link set w0 master \(bridge) up")
            try TestNetwork.command("ip link set w1 up")
            port = try TestPort(tap: "second")
            try TestNetwork.command("ip link set second master \(bridge) up")
            client = try TestPort(interface: NetworkInterface.named("w1").index)
            for name in ["w0", "second"] { try TestNetwork.awaitForwarding(name) }
        }
    }

    private let taps = ["guest", "second"]

    @Test func `All cards are sealed at one cut and released by one commit, each in its order`() throws {
        try TestNetwork.run { network in
            let second = try SecondCard()
            let output = try GuestOutput.prepare(taps: taps, identity: "vm")
            #expect(output.taps == taps)
            try output.insert()
            try network.guest.send(0..<30)
            try second.port.send(100..<120)
            #expect(try output.seal(epoch: 1).frames == 50)
            try network.guest.send(30..<35)
            try second.port.send(120..<140)
            #expect(try output.seal(epoch: 2).frames == 25)
            try second.port.send(140..<141)
            #expect(network.client.numbers(quiet: 100).isEmpty && second.client.numbers(quiet: 100).isEmpty)
            #expect(try output.statistics().map(\.heldFrames) == [35, 41])
            #expect(try output.release(through: 1).frames == 50)
            #expect(network.client.come(inOrder: 0..<30) && second.client.come(inOrder: 100..<120))
            #expect(network.client.numbers(quiet: 100).isEmpty && second.client.numbers(quiet: 100).isEmpty, "epoch 2 is not committed")
            try output.release(through: 2)
            #expect(network.client.come(inOrder: 30..<35) && second.client.come(inOrder: 120..<140))
            try output.open()
            #expect(second.client.come(inOrder: 140..<141))
            try output.remove()
            for tap in taps { #expect(try LeftoverRelay.find(tap: tap) == nil) }
        }
    }

    @Test func `A card that cannot be gated leaves no gate at the others`() throws {
        try TestNetwork.run { network in
            let stray = try TestPort(tap: "second")
            let error = #expect(throws: OutputRelayError.self) { try GuestOutput.prepare(taps: taps, identity: "vm") }
            #expect(error?.code == .notInBridge)
            #expect(try LeftoverRelay.findAll().isEmpty)
            #expect(try !TestNetwork.output("ip -o link").contains("us-in-"))
            try network.guest.send(0..<3)
            #expect(network.client.come(inOrder: 0..<3))
            withExtendedLifetime(stray) {}
        }
    }

    @Test func `A gate that does not close opens those before it`() throws {
        try TestNetwork.run { network in
            let second = try SecondCard()
            let output = try GuestOutput.prepare(taps: taps, identity: "vm")
            try output.relays[1].insert()
            #expect(throws: OutputRelayError.self) { try output.insert() }
            try network.guest.send(0..<3)
            #expect(network.client.come(inOrder: 0..<3), "the first card's gate stayed closed")
            try second.port.send(100..<103)
            #expect(second.client.numbers(quiet: 100).isEmpty, "the test's own gate must be closed")
            try output.open()
            #expect(second.client.come(inOrder: 100..<103))
            try output.open()
            try output.remove()
        }
    }

    @Test func `A seal that fails at one card is taken back at the others`() throws {
        try TestNetwork.run { network in
            let second = try SecondCard()
            let output = try GuestOutput.prepare(taps: taps, identity: "vm")
            try output.insert()
            _ = try output.relays[1].seal(epoch: 5)
            try network.guest.send(0..<3)
            #expect(throws: OutputRelayError.self) { try output.seal(epoch: 4) }
            // Nothing was sealed as epoch 4, so its frames leave with epoch 6 only.
            #expect(throws: OutputRelayError.self) { try output.release(through: 4) }
            #expect(network.client.numbers(quiet: 100).isEmpty)
            #expect(try output.seal(epoch: 6).frames == 3)
            try output.withdrawSeal(epoch: 6)
            #expect(try output.seal(epoch: 6).frames == 3)
            try output.release(through: 6)
            #expect(network.client.come(inOrder: 0..<3))
            try output.open()
            try output.remove()
            withExtendedLifetime(second) {}
        }
    }

    @Test func `What a dead daemon left at several cards is found and removed, though one card is gone`() throws {
        try TestNetwork.run { network in
            let second = try SecondCard()
            let closed = try GateHolder(tap: "second", "insert")
            let open = try GateHolder(tap: "guest", "prepare")
            closed.kill()
            open.kill()
            #expect(try LeftoverRelay.isAnyClosed(taps: ["gone", "guest", "second"]))
            #expect(try !LeftoverRelay.isAnyClosed(taps: ["gone", "guest"]))
            try second.port.send(100..<103)
            #expect(second.client.numbers(quiet: 100).isEmpty)
            try LeftoverRelay.remove(taps: ["gone", "guest", "second"])
            #expect(try LeftoverRelay.findAll().isEmpty)
            try network.guest.send(0..<1)
            try second.port.send(103..<104)
            #expect(network.client.come(inOrder: 0..<1) && second.client.come(inOrder: 103..<104))
        }
    }

    @Test func `A living daemon's gate at one card does not keep the others' leftovers`() throws {
        try TestNetwork.run { _ in
            let second = try SecondCard()
            let living = try GateHolder(tap: "guest", "insert")
            let dead = try GateHolder(tap: "second", "insert")
            dead.kill()
            let error = #expect(throws: OutputRelayError.self) { try LeftoverRelay.remove(taps: taps) }
            #expect(error?.code == .gateInUse)
            #expect(try LeftoverRelay.findAll().map(\.tap) == ["guest"])
            living.kill()
            withExtendedLifetime(second) {}
        }
    }

    @Test func `Every queue of a multiqueue tap is held`() throws {
        try TestNetwork.run { network in
            let queues = try (0..<2).map { _ in try TestPort(tap: "many", multiqueue: true) }
            try TestNetwork.command("ip link set many master br0 up")
            try TestNetwork.awaitForwarding("many")
            let output = try GuestOutput.prepare(taps: ["many"], identity: "vm")
            try output.insert()
            try queues[0].send(0..<10)
            try queues[1].send(100..<110)
            #expect(network.client.numbers(quiet: 100).isEmpty)
            #expect(try output.seal(epoch: 1).frames == 20)
            try output.release(through: 1)
            #expect(network.client.come(inOrder: 0..<10) && network.client.come(inOrder: 100..<110))
            try output.open()
            try queues[1].send(110..<111)
            #expect(network.client.come(inOrder: 110..<111))
            try output.remove()
        }
    }
}
