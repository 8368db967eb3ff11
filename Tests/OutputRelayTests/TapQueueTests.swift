import Glibc
import LinuxShim
import OutputRelay
import Testing

/// The way of a frame for a guest that is moved: out of the old tap's queue, into the new one's.
@Suite(.serialized, .enabled(if: TestNetwork.isPossible, "needs root and /dev/net/tun"))
struct TapQueueTests {
    private static let world: [UInt8] = [2, 2, 2, 2, 2, 2]

    /// This process's own queues of a tap, borrowed as another process's would be.
    private func borrow(_ tap: String) throws -> [TapQueue] {
        let process = understudy_pidfd_open(getpid())
        try TestNetwork.require(process >= 0, "open a pidfd")
        defer { close(process) }
        return try TapQueue.borrow(tap, from: getpid(), process)
    }

    private func take(_ queue: TapQueue) throws -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let frame = try queue.take() { frames.append(frame) }
        return frames
    }

    private func number(_ frame: [UInt8]) -> UInt64 { UInt64(frame[TapQueue.headerBytes + 14]) }

    @Test func `A frame that was taken in the guest's place never reaches the guest`() throws {
        try TestNetwork.run { network in
            let queue = try #require(try borrow("guest").first)
            try network.client.send(0..<5, to: TestNetwork.guestAddress, from: Self.world)
            var taken: [[UInt8]] = []
            try TestNetwork.eventually("the frames wait") {
                taken += try take(queue)
                return taken.count >= 5
            }
            #expect(taken.map(number) == [0, 1, 2, 3, 4] && taken.allSatisfy(TapQueue.isUnicast))
            #expect(network.guest.numbers(quiet: 100).isEmpty)
            try network.client.send(5..<6, to: TestNetwork.guestAddress, from: Self.world)
            #expect(network.guest.numbers(1) == [5], "a guest whose frames nobody takes gets them (negative control)")
            #expect(try borrow("lo").isEmpty)
        }
    }

    @Test func `Taken frames reach the holder of an opened tap exactly once and in order`() throws {
        try TestNetwork.run { network in
            let old = try #require(try borrow("guest").first)
            let tap = try StandbyTap.create(name: "standby", bridge: "br0")
            let guest = try TestPort(tap: "standby")
            try TestNetwork.awaitForwarding("standby")
            try network.client.send(0..<4, to: TestNetwork.guestAddress, from: Self.world)
            var taken: [[UInt8]] = []
            try TestNetwork.eventually("the frames wait") {
                taken += try take(old)
                return taken.count >= 4
            }
            #expect(throws: OutputRelayError.self, "a deaf tap takes nothing") { try tap.deliver(taken[0]) }
            tap.open()
            for frame in taken { try tap.deliver(frame) }
            #expect(throws: OutputRelayError.self, "a frame without its header is none") { try tap.deliver([1, 2, 3]) }
            #expect(guest.numbers(quiet: 200) == [0, 1, 2, 3])
            #expect(network.guest.numbers(quiet: 50).isEmpty && network.client.numbers(quiet: 50).isEmpty, "others heard of them")
            try tap.remove()
        }
    }

    @Test func `The queue of a tap that nobody reads is bounded`() throws {
        try TestNetwork.run { network in
            let tap = try StandbyTap.create(name: "standby", bridge: "br0")
            let guest = try TestPort(tap: "standby")
            try TestNetwork.awaitForwarding("standby")
            tap.open()
            let frame =
                [UInt8](repeating: 0, count: TapQueue.headerBytes) + TestPort.frame(7, to: TestNetwork.guestAddress, from: Self.world)
            for _ in 0..<3000 {
                // The kernel says so or not, depending on its version.
                do { try tap.deliver(frame) } catch { continue }
            }
            let come = guest.numbers(quiet: 200).count
            #expect((500...2000).contains(come), "\(come) came")
            try tap.remove()
        }
    }

    @Test func `A witness sees what goes into a tap's queue, and leaves it there`() throws {
        try TestNetwork.run { network in
            let witness = try TapWitness(tap: "guest")
            try network.client.send(0..<2, to: TestNetwork.guestAddress, from: Self.world)
            #expect(network.guest.numbers(2) == [0, 1])
            witness.forget()
            try network.guest.send(50..<52)
            #expect(network.client.numbers(2) == [50, 51])
            try network.client.send(2..<6, to: TestNetwork.guestAddress, from: Self.world)
            #expect(network.guest.numbers(1) == [2], "as a QEMU does that was stopped")
            let queue = try #require(try borrow("guest").first)
            var waiting: [[UInt8]] = []
            try TestNetwork.eventually("the others wait") {
                waiting += try take(queue)
                return waiting.count >= 3
            }
            let seen = witness.seen(first: 2)
            #expect(seen.map(number) == [2, 3] && seen[1] == waiting[0])
        }
    }
}
