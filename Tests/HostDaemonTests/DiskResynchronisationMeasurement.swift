import Foundation
import Links
import Testing
import UnderstudyCore

@testable import HostDaemon

/// Numbers, not judgements: `UNDERSTUDY_MEASURE=1 swift test -c release -Xswiftc -enable-testing --filter DiskResynchronisationMeasurement`.
@Suite(
    .serialized,
    .enabled(
        if: MirroredMachine.canRun && ProcessInfo.processInfo.environment["UNDERSTUDY_MEASURE"] != nil,
        "needs QEMU and UNDERSTUDY_MEASURE=1"))
struct DiskResynchronisationMeasurement {
    private static let byteCount = 1 << 30

    private static func seconds(_ body: () throws -> Void) rethrows -> Double {
        let begun = MonotonicClock.now
        try body()
        return Double(MonotonicClock.now - begun) / 1e9
    }

    private static func noise(_ count: Int, seed: UInt64) -> Data {
        var numbers = SplitMixNumbers(state: seed)
        var data = Data(count: count)
        data.withUnsafeMutableBytes {
            for index in stride(from: 0, to: count, by: 8) { $0.storeBytes(of: numbers.next(), toByteOffset: index, as: UInt64.self) }
        }
        return data
    }

    @Test func `a disk of 1 GiB, wholly and when a hundredth has changed`() throws {
        let machine = try MirroredMachine(format: "raw", byteCount: UInt64(Self.byteCount))
        let image = try FileHandle(forUpdating: URL(fileURLWithPath: machine.image))
        for part in 0..<64 { try image.write(contentsOf: Self.noise(16 << 20, seed: UInt64(part))) }
        try Self.measure("first copy", machine)
        try Self.measure("nothing changed", machine)
        for block in 0..<164 {
            try image.seek(toOffset: UInt64(block * 99 * 65_536 + 4096))
            try image.write(contentsOf: Self.noise(4096, seed: 1000 + UInt64(block)))
        }
        try Self.measure("164 of 16384 blocks changed", machine)
        try image.close()
    }

    private static func measure(_ what: String, _ machine: MirroredMachine) throws {
        let table = try seconds { try machine.wait("the table") { try machine.replication.learn() } }
        let copy = try seconds { try machine.attach() }
        let apply = try seconds { try machine.commit(1) }
        let sent = Double(machine.replication.bytesSent) / 1_048_576
        print(
            "MEASURE \(what): \(String(format: "table %.2f s, copy %.2f s, rest in the image %.2f s, %.1f MiB sent", table, copy, apply, sent)), differing \(machine.replication.comparison[0].differing >> 10) KiB"
        )
        try machine.unprotect()
        try machine.protectAgain()
    }

    @Test func `checksums of blocks`() throws {
        let hasher = try BlockHasher(key: try BlockHasher.newKey())
        let bytes = [UInt8](Self.noise(64 << 10, seed: 1))
        let rounds = 50_000
        let time = Self.seconds {
            bytes.withUnsafeBytes { bytes in for round in 0..<rounds { _ = hasher.digest(disk: 0, block: round, of: bytes) } }
        }
        print("MEASURE checksums: \(String(format: "%.2f GB/s on one thread", Double(rounds * bytes.count) / time / 1e9))")
    }
}
