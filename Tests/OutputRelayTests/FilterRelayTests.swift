import Glibc
import Synchronization
import Testing
import UnderstudyCore

@testable import OutputRelay

/// The gate of a card that is on no tap, with this test in QEMU's place at the sockets of its filter.
@Suite struct FilterRelayTests {
    /// What QEMU was asked for.
    private final class Calls: Sendable {
        let list = Mutex<[String]>([])
        func add(_ call: String) { list.withLock { $0.append(call) } }
    }

    /// The filter inside QEMU.
    private final class Filter: Sendable {
        let out: Int32
        let back: Int32
        let calls = Calls()
        private let relayEnds: (Int32, Int32)

        init() throws {
            var pairs: [[Int32]] = []
            for _ in 0..<2 {
                var ends: [Int32] = [-1, -1]
                try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
                pairs.append(ends)
            }
            out = pairs[0][0]
            back = pairs[1][0]
            relayEnds = (pairs[0][1], pairs[1][1])
        }

        deinit {
            close(out)
            close(back)
        }

        func relay(ringBytes: Int = 8 << 20, withoutCommit: Bool = false, onOutput: (@Sendable (UInt64) -> Void)? = nil) throws
            -> FilterRelay
        {
            try FilterRelay(
                FilterRelay.Connection(
                    port: "netdev:n0", kind: "stream", fromGuest: relayEnds.0, toNetwork: relayEnds.1,
                    hold: { [calls] isOn in calls.add(isOn ? "on" : "off") },
                    detach: { [calls] in calls.add("detach") }),
                configuration: OutputRelay.Configuration(ringBytes: ringBytes, openWithoutCommit: withoutCommit, onOutput: onOutput))
        }

        private func bytes(_ number: UInt32, size: Int) -> [UInt8] {
            withUnsafeBytes(of: UInt32(size).bigEndian, Array.init) + withUnsafeBytes(of: number, Array.init)
                + [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: size - 4)
        }

        /// What the guest sends; waits while the socket is full, as QEMU does.
        func send(_ numbers: Range<UInt32>, size: Int = 100) {
            for number in numbers { sendRaw(bytes(number, size: size)) }
        }

        func sendRaw(_ bytes: [UInt8]) { #expect(Glibc.send(out, bytes, bytes.count, 0) == bytes.count) }

        func split(_ number: UInt32) -> (ArraySlice<UInt8>, ArraySlice<UInt8>, ArraySlice<UInt8>) {
            let whole = bytes(number, size: 100)
            return (whole[..<2], whole[2..<50], whole[50...])
        }

        /// The frames that come back, until none has come for a while.
        func numbers(quiet milliseconds: Int32 = 100) -> [UInt32] {
            var numbers: [UInt32] = []
            while let length = take(4, milliseconds) {
                let size = length.reduce(0) { $0 << 8 | Int($1) }
                guard let frame = take(size, 10_000) else { break }
                let number = frame.prefix(4).enumerated().reduce(UInt32(0)) { $0 | UInt32($1.element) << (8 * UInt32($1.offset)) }
                #expect(frame.dropFirst(4).allSatisfy { $0 == UInt8(truncatingIfNeeded: number) })
                numbers.append(number)
            }
            return numbers
        }

        private func take(_ count: Int, _ milliseconds: Int32) -> [UInt8]? {
            var bytes = [UInt8](repeating: 0, count: count)
            var have = 0
            while have < count {
                var wait = pollfd(fd: back, events: Int16(POLLIN), revents: 0)
                guard poll(&wait, 1, milliseconds) > 0 else { return nil }
                let got = bytes.withUnsafeMutableBytes { recv(back, $0.baseAddress! + have, count - have, 0) }
                guard got > 0 else { return nil }
                have += got
            }
            return bytes
        }
    }

    @Test func `Frames pass until the cut, then wait for the commit of their epoch, and pass again at the end`() throws {
        let filter = try Filter()
        let relay = try filter.relay()
        try relay.arm()
        filter.send(0..<10)
        #expect(filter.numbers() == Array(0..<10))
        try relay.insert()
        filter.send(10..<20)
        #expect(try relay.seal(epoch: 1).frames == 10)
        filter.send(20..<25)
        #expect(try relay.seal(epoch: 2).frames == 5)
        filter.send(25..<27)
        #expect(filter.numbers() == [])
        #expect(try relay.statistics().heldFrames >= 15)
        #expect(throws: OutputRelayError.self) { try relay.remove() }
        try relay.release(through: 1)
        #expect(filter.numbers() == Array(10..<20))
        try relay.withdrawSeal(epoch: 2)
        #expect(try relay.seal(epoch: 2).frames == 7)
        try relay.release(through: 2)
        #expect(filter.numbers() == Array(20..<27))
        filter.send(27..<30)
        try relay.open()
        filter.send(30..<33)
        #expect(filter.numbers() == Array(27..<33))
        try relay.remove()
        #expect(filter.calls.list.withLock { $0 } == ["on", "off", "detach"])
        #expect(try relay.statistics().releasedFrames == 33)
    }

    /// The control of what is held: without output commit the same frames leave at once.
    @Test func `Without output commit nothing waits`() throws {
        let filter = try Filter()
        let relay = try filter.relay(withoutCommit: true)
        try relay.arm()
        try relay.insert()
        filter.send(0..<10)
        #expect(filter.numbers() == Array(0..<10))
        relay.abandon()
    }

    @Test func `A frame that comes in pieces belongs to the epoch in which it is whole`() throws {
        let filter = try Filter()
        let relay = try filter.relay()
        try relay.arm()
        try relay.insert()
        let (first, second, third) = filter.split(7)
        filter.sendRaw(Array(first))
        #expect(try relay.seal(epoch: 1).frames == 0)
        filter.sendRaw(Array(second))
        #expect(try relay.seal(epoch: 2).frames == 0)
        filter.sendRaw(Array(third))
        #expect(try relay.seal(epoch: 3).frames == 1)
        try relay.release(through: 2)
        #expect(filter.numbers() == [])
        try relay.release(through: 3)
        #expect(filter.numbers() == [7])
        relay.abandon()
    }

    @Test func `The first frame of each epoch that is held back is told, and none that passes`() throws {
        let filter = try Filter()
        let told = Calls()
        let relay = try filter.relay(onOutput: { told.add("\($0)") })
        try relay.arm()
        filter.send(0..<3)
        #expect(filter.numbers() == [0, 1, 2])
        try relay.insert()
        filter.send(3..<6)
        _ = try relay.seal(epoch: 1)
        filter.send(6..<9)
        _ = try relay.seal(epoch: 2)
        _ = try relay.seal(epoch: 3)
        #expect(told.list.withLock { $0 } == ["0", "1"])
        relay.abandon()
    }

    /// QEMU waits while its socket is full, and with it the guest.
    @Test func `A guest that sends more than is held never waits, and what has no room is counted`() throws {
        let filter = try Filter()
        let relay = try filter.relay(ringBytes: 1 << 20)
        try relay.arm()
        try relay.insert()
        filter.send(0..<5000, size: 1500)
        let sealed = try relay.seal(epoch: 1)
        #expect(sealed.frames > 500 && sealed.frames < 5000)
        #expect(try relay.statistics().droppedFrames == UInt64(5000 - sealed.frames))
        try relay.release(through: 1)
        #expect(filter.numbers() == Array(0..<UInt32(sealed.frames)))
        relay.abandon()
    }

    @Test func `A release does not wait for a QEMU that reads nothing, and the rest leaves when it reads`() throws {
        let filter = try Filter()
        let relay = try filter.relay(ringBytes: 32 << 20)
        try relay.arm()
        try relay.insert()
        filter.send(0..<8000, size: 1500)
        #expect(try relay.seal(epoch: 1).frames == 8000)
        #expect(try relay.release(through: 1).frames < 8000)
        filter.send(8000..<8010)
        #expect(try relay.seal(epoch: 2).frames == 10)
        #expect(filter.numbers() == Array(0..<8000))
        relay.abandon()
    }

    @Test func `An abandoned gate is left to QEMU closed, and one that was never closed is taken away`() throws {
        let closed = try Filter()
        let relay = try closed.relay()
        #expect(throws: OutputRelayError.self, "not made ready") { try relay.insert() }
        try relay.arm()
        try relay.insert()
        closed.send(0..<3)
        _ = try relay.seal(epoch: 1)
        relay.abandon()
        #expect(closed.numbers() == [] && closed.calls.list.withLock { $0 } == ["on"])
        var byte: UInt8 = 0
        #expect(recv(closed.back, &byte, 1, Int32(MSG_DONTWAIT)) == 0, "QEMU sees the end of the connection")

        let open = try Filter()
        try open.relay().abandon()
        #expect(open.calls.list.withLock { $0 } == ["off", "detach"])
    }

    @Test func `The end of QEMU is no failure of the gate, and what claims to be no frame is one`() throws {
        let filter = try Filter()
        let relay = try filter.relay()
        try relay.arm()
        try relay.insert()
        try relay.verify()
        shutdown(filter.out, Int32(SHUT_RDWR))
        #expect(try relay.seal(epoch: 1).frames == 0)
        try relay.verify()
        try relay.open()
        try relay.remove()

        let liar = try Filter()
        let other = try liar.relay()
        try other.arm()
        try other.insert()
        liar.sendRaw([0xff, 0xff, 0xff, 0xff, 1])
        #expect(throws: OutputRelayError.self) { try other.seal(epoch: 1) }
        other.abandon()
    }
}
