import Glibc
import OutputRelay
import Testing
import UnderstudyCore

/// Prints what the relay costs; asserts no times. Run with UNDERSTUDY_MEASURE=1.
@Suite(.serialized, .enabled(if: TestNetwork.isPossible && getenv("UNDERSTUDY_MEASURE") != nil, "needs root and UNDERSTUDY_MEASURE=1"))
struct OutputRelayMeasurements {
    private func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
    }

    /// Median and maximum in microseconds.
    private func summary(_ times: [Double]) -> String {
        let sorted = times.sorted()
        return "median \(Double(Int(sorted[sorted.count / 2] * 10)) / 10) us, max \(Int(sorted.last ?? 0)) us"
    }

    @Test func `Time to prepare, insert, open and remove`() throws {
        try TestNetwork.run { _ in
            var times: [String: [Double]] = [:]
            for _ in 0..<20 {
                var start = now()
                func lap(_ name: String) {
                    times[name, default: []].append(now() - start)
                    start = now()
                }
                let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
                lap("prepare")
                try relay.insert()
                lap("insert")
                try relay.open()
                lap("open, nothing held")
                try relay.remove()
                lap("remove")
            }
            for (name, times) in times.sorted(by: { $0.key < $1.key }) { print("measured: \(name): \(summary(times))") }
        }
    }

    @Test func `Time to seal an idle epoch`() throws {
        try TestNetwork.run { network in
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            var seals: [Double] = []
            for epoch in 1...1000 as ClosedRange<UInt64> {
                let start = now()
                _ = try relay.seal(epoch: epoch)
                seals.append(now() - start)
                try relay.release(through: epoch)
            }
            print("measured: seal, nothing sent: \(summary(seals))")
            try relay.openAndRemove()
        }
    }

    @Test(arguments: [100, 1500, 20_000, 64_000]) func `Throughput through the relay and without it`(size: Int) throws {
        try TestNetwork.run { network in
            let (virtio, segment) = Segment.make(payload: size - 54)
            let frame = size > 1500 ? virtio + segment : [UInt8](repeating: 0, count: 12) + segment
            let guest = network.guest.descriptor
            let client = network.client.descriptor
            let sink = try Repeat {
                var buffer = [UInt8](repeating: 0, count: 1 << 17)
                while read(client, &buffer, buffer.count) > 0 {}
                usleep(500)
            }
            let count = size > 1500 ? 20_000 : 100_000
            var start = now()
            for _ in 0..<count { _ = write(guest, frame, frame.count) }
            let plain = now() - start
            let relay = try OutputRelay.prepare(tap: "guest", identity: "vm")
            try relay.insert()
            start = now()
            var epoch: UInt64 = 0
            var seals: [Double] = []
            for number in 1...count {
                _ = write(guest, frame, frame.count)
                guard number % 500 == 0 else { continue }
                epoch += 1
                let begin = now()
                _ = try relay.seal(epoch: epoch)
                seals.append(now() - begin)
                try relay.release(through: epoch)
            }
            let relayed = now() - start
            let statistics = try relay.statistics()
            func rate(_ time: Double) -> String {
                "\(Double(Int(time / Double(count) * 100)) / 100) us per frame, \(Int(Double(count * size) / time)) MB/s"
            }
            print(
                "measured: \(size) bytes: plain \(rate(plain)); relayed \(rate(relayed)); dropped \(statistics.droppedFrames); "
                    + "seal after 500 frames \(summary(seals))")
            #expect(statistics.undeliveredFrames == 0)
            sink.stop()
            try relay.openAndRemove()
        }
    }
}
