import Glibc
@testable import OutputRelay
import Testing
import UnderstudyCore

@Suite(.serialized, .enabled(if: TestNetwork.isPossible, "needs root and /dev/net/tun"))
struct OutputRelayTests {
    /// Waits until the relay holds `frames` frames.
    private func await(_ frames: Int, in relay: OutputRelay) throws {
        try TestNetwork.eventually("\(frames) frames are held") { try relay.statistics().heldFrames == frames }
    }

    @Test func `A prepared relay redirects nothing and can be removed without a trace`() throws {
        try TestNetwork.run { network in
            let before = try TestNetwork.output("ip -o link | wc -l; tc qdisc show dev guest")
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try network.guest.send(0..<10)
            #expect(network.client.come(inOrder: 0..<10))
            #expect(try relay.statistics().heldFrames == 0)
            try relay.remove()
            try network.guest.send(10..<12)
            #expect(network.client.numbers(2) == [10, 11])
            #expect(try LeftoverRelay.find(tap: "guest") == nil)
            #expect(try TestNetwork.output("ip -o link | wc -l; tc qdisc show dev guest") == before)
        }
    }

    @Test func `A closed gate holds every frame until its epoch is released, then gives exactly one copy in order`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<100)
            #expect(try relay.seal(epoch: 1).frames == 100)
            #expect(network.client.numbers(quiet: 200).isEmpty, "a frame left before its epoch was committed")
            #expect(try relay.release(through: 1).frames == 100)
            #expect(network.client.come(inOrder: 0..<100))
            #expect(network.client.numbers(quiet: 200).isEmpty, "a frame came twice")
            let statistics = try relay.statistics()
            #expect(statistics.heldFrames == 0)
            #expect(statistics.undeliveredFrames == 0)
            #expect(statistics.droppedFrames == 0)
            #expect(statistics.releasedFrames == 100)
            #expect(statistics.holdTimes.count == 100)
            try relay.openAndRemove()
        }
    }

    @Test func `Without output commit a frame appears before any release (negative control)`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm", configuration: .init(openWithoutCommit: true))
            try relay.insert()
            try network.guest.send(0..<50)
            #expect(network.client.come(inOrder: 0..<50))
            _ = try relay.seal(epoch: 1)
            try relay.openAndRemove()
        }
    }

    @Test func `Each frame belongs to the epoch whose cut follows it, over many epochs`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            var next: UInt64 = 0
            var ends: [UInt64] = [0]
            for epoch in 1...200 as ClosedRange<UInt64> {
                let count = UInt64.random(in: 0...20)
                try network.guest.send(next..<(next + count))
                next += count
                ends.append(next)
                #expect(try relay.seal(epoch: epoch).frames == Int(count))
                if epoch > 1 {
                    let expected = ends[Int(epoch) - 2]..<ends[Int(epoch) - 1]
                    #expect(try relay.release(through: epoch - 1).frames == expected.count)
                    #expect(network.client.come(inOrder: expected))
                }
            }
            #expect(network.client.receive(100) == nil, "a frame of the uncommitted epoch left")
            #expect(try relay.openAndRemove().frames == Int(next - ends[199]))
            #expect(network.client.come(inOrder: ends[199]..<next))
        }
    }

    @Test func `Frames after the cut wait for the next epoch while the reader runs`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<5)
            #expect(try relay.seal(epoch: 1).frames == 5)
            try network.guest.send(5..<9)
            try self.await(9, in: relay)
            #expect(try relay.release(through: 1).frames == 5)
            #expect(network.client.numbers(quiet: 200) == [0, 1, 2, 3, 4], "a frame from after the cut left with the epoch before it")
            #expect(try relay.seal(epoch: 2).frames == 4)
            try relay.release(through: 2)
            #expect(network.client.come(inOrder: 5..<9))
            try relay.openAndRemove()
        }
    }

    @Test func `A withdrawn seal gives its frames to the next epoch`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<3)
            _ = try relay.seal(epoch: 1)
            try relay.withdrawSeal(epoch: 1)
            #expect(throws: OutputRelayError.self) { try relay.release(through: 1) }
            try network.guest.send(3..<5)
            #expect(try relay.seal(epoch: 1).frames == 5)
            try relay.release(through: 1)
            #expect(network.client.come(inOrder: 0..<5))
            try relay.openAndRemove()
        }
    }

    @Test func `Nothing leaves for an epoch that was never sealed`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            #expect(throws: OutputRelayError.self) { try relay.seal(epoch: 1) }
            #expect(throws: OutputRelayError.self) { try relay.open() }
            try relay.insert()
            #expect(throws: OutputRelayError.self) { try relay.remove() }
            try network.guest.send(0..<3)
            #expect(throws: OutputRelayError.self) { try relay.release(through: 1) }
            _ = try relay.seal(epoch: 4)
            #expect(throws: OutputRelayError.self) { try relay.seal(epoch: 4) }
            #expect(throws: OutputRelayError.self) { try relay.release(through: 5) }
            #expect(network.client.numbers(quiet: 200).isEmpty)
            try relay.openAndRemove()
        }
    }

    @Test func `Opening loses and reorders nothing between held frames and frames that pass by themselves`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<2000)
            _ = try relay.seal(epoch: 1)
            try network.guest.send(2000..<3000)
            #expect(try relay.open().frames == 3000)
            try network.guest.send(3000..<3100)
            try relay.remove()
            try network.guest.send(3100..<3200)
            #expect(network.client.come(inOrder: 0..<3200))
            #expect(network.client.numbers(quiet: 100).isEmpty)
            #expect(try LeftoverRelay.findAll() == [])
        }
    }

    @Test func `The bridge learns the guest's address on the guest's port, and the world reaches the guest directly`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            let clientAddress: [UInt8] = [2, 2, 2, 2, 2, 2]
            try network.guest.send(0..<1)
            _ = try relay.seal(epoch: 1)
            try relay.release(through: 1)
            #expect(network.client.numbers(1) == [0])
            #expect(try TestNetwork.output("bridge fdb show br br0").contains("52:54:00:12:34:56 dev guest"))
            network.guest.drain()
            try network.client.send(7..<8, to: TestNetwork.guestAddress, from: clientAddress)
            #expect(network.guest.numbers(1) == [7])
            #expect(network.guest.numbers(quiet: 100).isEmpty)
            try relay.openAndRemove()
        }
    }

    @Test func `Frames with a VLAN tag keep it`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            let frame = TestPort.frame(9, to: TestNetwork.broadcast, from: TestNetwork.guestAddress)
            try network.guest.send(Array(frame[..<12]) + [0x81, 0, 0, 42] + Array(frame[12...]))
            _ = try relay.seal(epoch: 1)
            #expect(try relay.release(through: 1).bytes == 112)
            // A packet socket shows the frame without its accelerated tag; the tag is in the ring's byte count above.
            #expect(network.client.numbers(1) == [9])
            try relay.openAndRemove()
        }
    }

    @Test(arguments: [20_000, 64_000]) func `A large TCP segment stays one frame, byte for byte`(size: Int) throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            let (virtio, frame) = Segment.make(payload: size)
            try network.guest.send(frame, virtio: virtio)
            #expect(try relay.seal(epoch: 1) == SealedOutput(epoch: 1, frames: 1, bytes: frame.count, overflowed: false))
            try relay.release(through: 1)
            #expect(network.client.receive(10_000) == frame)
            #expect(network.client.receive(100) == nil)
            try relay.openAndRemove()
        }
    }

    @Test func `2,000 broadcasts in one epoch come once and in order`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<2000)
            #expect(try relay.seal(epoch: 1).frames == 2000)
            try relay.release(through: 1)
            #expect(network.client.come(inOrder: 0..<2000))
            #expect(network.client.numbers(quiet: 200).isEmpty)
            #expect(try relay.statistics().droppedFrames == 0)
            try relay.openAndRemove()
        }
    }

    @Test func `A full ring drops and counts, recovers, and never lets a frame out early`() throws {
        try TestNetwork.run { network in
            let configuration = OutputRelay.Configuration(ringBytes: 1 << 20, queueLength: 100)
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm", configuration: configuration)
            try relay.insert()
            var sent: UInt64 = 0
            while try relay.statistics().heldFrames == Int(sent) {
                try network.guest.send(sent..<(sent + 50))
                sent += 50
                for _ in 0..<400 where try relay.statistics().heldFrames < Int(sent) { usleep(1000) }
            }
            try network.guest.send(sent..<(sent + 200))
            sent += 200
            let sealed = try relay.seal(epoch: 1)
            #expect(sealed.overflowed)
            #expect(network.client.receive(100) == nil)
            let dropped = try relay.statistics().droppedFrames
            #expect(dropped > 0)
            #expect(try relay.release(through: 1).frames == sealed.frames)
            #expect(network.client.come(inOrder: 0..<UInt64(sealed.frames)))
            let late = try relay.seal(epoch: 2)
            #expect(!late.overflowed)
            #expect(sealed.frames + late.frames + Int(dropped) == Int(sent))
            #expect(network.client.receive(100) == nil)
            try relay.release(through: 2)
            #expect(network.client.numbers(late.frames).count == late.frames)
            try network.guest.send(30_000..<30_010)
            #expect(try relay.seal(epoch: 3).frames == 10)
            try relay.release(through: 3)
            #expect(network.client.come(inOrder: 30_000..<30_010))
            try relay.openAndRemove()
        }
    }

    @Test func `The oldest held frame's age grows and ends with its release`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            #expect(try relay.statistics().oldestHeldAge == nil)
            try network.guest.send(0..<1)
            try self.await(1, in: relay)
            usleep(20_000)
            #expect(try #require(try relay.statistics().oldestHeldAge) >= 20_000_000)
            _ = try relay.seal(epoch: 1)
            try relay.release(through: 1)
            let statistics = try relay.statistics()
            #expect(statistics.oldestHeldAge == nil)
            #expect(statistics.lastReleaseTime != nil)
            #expect(try #require(statistics.holdTimes.quantile(0.5)) >= 20_000_000)
            try relay.openAndRemove()
        }
    }

    @Test func `A user's own classifiers stay, and see released frames once`() throws {
        try TestNetwork.run { network in
            try TestNetwork.command("tc qdisc add dev guest clsact")
            try TestNetwork.command("tc filter add dev guest ingress prio 1 u32 match u32 0 0 classid 1:1")
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<5)
            _ = try relay.seal(epoch: 1)
            #expect(network.client.numbers(quiet: 200).isEmpty, "the user's filter let a held frame pass")
            try relay.release(through: 1)
            #expect(network.client.come(inOrder: 0..<5))
            #expect(try TestNetwork.output("tc -s qdisc show dev guest clsact").contains(" 5 pkt"))
            try relay.openAndRemove()
            #expect(try TestNetwork.output("tc filter show dev guest ingress").contains("u32"))
        }
    }

    @Test func `What the host itself sends on the relay's taps is not taken for the guest's`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            for link in try TestNetwork.output("ip -o link").split(separator: "\n") where link.contains("us-") {
                let name = link.split(separator: " ")[1].dropLast()
                let port = try TestPort(interface: NetworkInterface.named(String(name)).index)
                // Where the classifier drops them, the sender is told so.
                for _ in 0..<20 { port.offer(TestPort.frame(1, to: TestNetwork.broadcast, from: TestNetwork.guestAddress)) }
            }
            #expect(try relay.seal(epoch: 1).frames == 0)
            try relay.release(through: 1)
            #expect(network.client.numbers(quiet: 100).isEmpty)
            try relay.openAndRemove()
        }
    }

    @Test func `An abandoned gate stays closed and drops what it held`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            try network.guest.send(0..<5)
            _ = try relay.seal(epoch: 1)
            relay.abandon()
            relay.abandon()
            #expect(throws: OutputRelayError.self) { try relay.release(through: 1) }
            try network.guest.send(5..<10)
            #expect(network.client.numbers(quiet: 200).isEmpty)
            #expect(try #require(try LeftoverRelay.find(tap: "guest")).isClosed)
            try LeftoverRelay.remove(tap: "guest")
            try network.guest.send(10..<11)
            #expect(network.client.numbers(1) == [10])
        }
    }

    @Test func `A relay that is forgotten leaves the gate closed`() throws {
        try TestNetwork.run { network in
            try OutputRelay.prepare(tap: "guest", identity: "vm").insert()
            try network.guest.send(0..<5)
            #expect(network.client.numbers(quiet: 200).isEmpty)
            #expect(try #require(try LeftoverRelay.find(tap: "guest")).isClosed)
        }
    }

    @Test func `Interfaces that cannot be gated are refused with a reason`() throws {
        try TestNetwork.run { _ in
            func refusal(_ tap: String) -> OutputRelayError.Code? {
                do { _ = try OutputRelay.prepare(tap: tap, identity: "vm") } catch { return error.code }
                return nil
            }
            #expect(refusal("nothing") == .noSuchInterface)
            #expect(refusal("v0") == .notATap)
            try TestNetwork.command("ip tuntap add loose mode tap")
            #expect(refusal("loose") == .notInBridge)
            try TestNetwork.command("ip tuntap add layer3 mode tun")
            #expect(refusal("layer3") == .notATap)
            let first = try OutputRelay.prepare(tap: "guest", identity: "vm")
            #expect(refusal("guest") == .gateInUse)
            try first.remove()
        }
    }

    @Test func `A gate that another tool took away is noticed`() throws {
        try TestNetwork.run { _ in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.verify()
            let other = try Classifier.dropAll()
            let index = try NetworkInterface.named("guest").index
            try BPF.attach(other, to: index, .ingress)
            #expect(throws: OutputRelayError.self) { try relay.verify() }
            try BPF.detach(other, from: index, .ingress)
            try relay.verify()
            try relay.remove()
        }
    }
}
