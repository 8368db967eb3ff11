import Demonstration
import Foundation
import HostAPI
import Testing

/// What compression leaves of the traffic of a guest whose MariaDB and SQLite are under load. Prints a line per mode; run it by name.
@Suite(
    .serialized, .enabled(if: Requirements.isMeasuring, "measures only on request: UNDERSTUDY_MEASURE=1"),
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"),
    .enabled(if: DatabaseGuest.isMade, "needs the disk and the client made by scripts/make-database-guest"))
struct CompressionMeasurement {
    @Test func `bytes on the wire per byte changed under databases`() throws {
        let databases = try DatabaseGuest()
        let pair = databases.pair
        databases.store()
        try databases.protect()
        try databases.awaitMore(20, "the beginning")
        for mode in CompressionMode.allCases + [.auto] {
            _ = try pair.daemons.first.perform(.set(SetRequest(name: ProtectedLab.machine, compression: mode)))
            // References that are missing after the mode `off` come back meanwhile.
            sleep(3)
            let before = try #require(pair.status(pair.daemons.first))
            let confirmed = databases.confirmed
            sleep(10)
            let after = try #require(pair.status(pair.daemons.first))
            let (first, last) = (try #require(before.compression), try #require(after.compression))
            let dirty = last.dirtyBytes - first.dirtyBytes
            let transactions = databases.confirmed.maria + databases.confirmed.sqlite - confirmed.maria - confirmed.sqlite
            print(
                "databases, \(mode): \(Double(last.wireBytes - first.wireBytes) / Double(dirty)) bytes on the wire per byte changed;",
                "\(dirty >> 20) MiB changed in \(after.epoch - before.epoch) epochs, \(transactions) transactions;",
                "pages: \(last.unchangedPages - first.unchangedPages) unchanged, \(last.zeroPages - first.zeroPages) zero,",
                "\(last.deltaPages - first.deltaPages) deltas, \(last.wholePages - first.wholePages) whole;",
                "messages: \(last.plainRecords - first.plainRecords) plain, \(last.lz4Records - first.lz4Records) LZ4,",
                "\(last.zstdRecords - first.zstdRecords) zstd; commit \(after.checkpoints?.commitMilliseconds.p50 ?? 0) ms")
        }
        try databases.stop()
    }
}
