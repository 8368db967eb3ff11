import Glibc
import OutputRelay
import Testing
import UnderstudyCore

@Suite(.serialized, .enabled(if: TestNetwork.isPossible, "needs root and /dev/net/tun"))
struct LeftoverRelayTests {
    @Test func `Nothing passes after the daemon was killed, and a later one finds the gate`() throws {
        try TestNetwork.run { network in
            let daemon = try GateHolder(tap: "guest", "insert")
            #expect(try #require(try LeftoverRelay.find(tap: "guest")).isInUse)
            #expect(throws: OutputRelayError.self) { try LeftoverRelay.remove(tap: "guest") }
            #expect(throws: OutputRelayError.self) { try OutputRelay.check(tap: "guest") }
            try network.guest.send(0..<50)
            daemon.kill()
            try network.guest.send(50..<100)
            #expect(network.client.numbers(quiet: 300).isEmpty, "a frame passed the gate of a dead daemon")
            let leftover = try #require(try LeftoverRelay.find(tap: "guest"))
            #expect(leftover.isClosed && !leftover.isInUse)
            #expect(leftover.identity == "held by a child")
            #expect(try LeftoverRelay.findAll() == [leftover])
            #expect(throws: OutputRelayError.self) { try OutputRelay.prepare(tap: "guest", identity: "vm") }
            try network.guest.send(100..<101)
            #expect(network.client.numbers(quiet: 200).isEmpty, "a refused prepare opened the gate")
            #expect(throws: OutputRelayError.self) { try OutputRelay.check(tap: "guest") }
            try LeftoverRelay.remove(tap: "guest")
            try OutputRelay.check(tap: "guest")
            try network.guest.send(101..<102)
            #expect(network.client.numbers(1) == [101])
            #expect(try LeftoverRelay.find(tap: "guest") == nil)
        }
    }

    @Test func `A daemon killed before its first epoch leaves the guest's network working`() throws {
        try TestNetwork.run { network in
            let daemon = try GateHolder(tap: "guest", "prepare")
            daemon.kill()
            try network.guest.send(0..<5)
            #expect(network.client.come(inOrder: 0..<5))
            let leftover = try #require(try LeftoverRelay.find(tap: "guest"))
            #expect(!leftover.isClosed && !leftover.isInUse)
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.verify()
            try relay.remove()
            #expect(try LeftoverRelay.find(tap: "guest") == nil)
        }
    }

    @Test func `A leftover gate is adopted without ever being open, twice in a row`() throws {
        try TestNetwork.run { network in
            let first = try GateHolder(tap: "guest", "insert")
            first.kill()
            let guest = network.guest.descriptor
            let frame = [UInt8](repeating: 0, count: 12) + TestPort.frame(1, to: TestNetwork.broadcast, from: TestNetwork.guestAddress)
            let sender = try Repeat {
                _ = write(guest, frame, frame.count)
                usleep(20)
            }
            let second = try GateHolder(tap: "guest", "adopt")
            second.kill()
            let relay = try LeftoverRelay.adopt(tap: "guest", identity: "vm")
            usleep(50_000)
            sender.stop()
            #expect(network.client.numbers(quiet: 300).isEmpty, "a frame passed while the gate was handed over")
            #expect(sender.rounds > 0)
            #expect(try #require(try LeftoverRelay.find(tap: "guest")).identity == "vm")
            let held = try relay.seal(epoch: 1).frames
            #expect(held > 0)
            try relay.verify()
            #expect(try relay.release(through: 1).frames == held)
            #expect(network.client.numbers(held).count == held)
            try relay.openAndRemove()
        }
    }

    @Test func `Only a closed gate can be adopted`() throws {
        try TestNetwork.run { network in
            #expect(throws: OutputRelayError.self) { try LeftoverRelay.adopt(tap: "guest", identity: "vm") }
            try network.guest.send(0..<1)
            #expect(network.client.numbers(1) == [0])
        }
    }
}
