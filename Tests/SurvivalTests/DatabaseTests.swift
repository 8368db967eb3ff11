import Demonstration
import Foundation
import HostAPI
import Testing

/// MariaDB and SQLite on a guest's disk, each under load over one connection that lives through the deaths of the guest's hosts.
///
/// `UNDERSTUDY_DATABASE_KILLS` sets the number of deaths (default: 2). The disk is made by `scripts/make-database-guest`.
@Suite(
    .serialized,
    .enabled(if: Requirements.areMet && DiskLab.areToolsInstalled, "needs root, QEMU, etcd, the guest, qemu-utils and e2fsprogs"),
    .enabled(if: DatabaseGuest.isMade, "needs the disk and the client made by scripts/make-database-guest"))
struct DatabaseTests {
    static let kills = Int(ProcessInfo.processInfo.environment["UNDERSTUDY_DATABASE_KILLS"] ?? "") ?? 2

    @Test func `no confirmed transaction is lost`() throws {
        let databases = try DatabaseGuest()
        let pair = databases.pair
        databases.store()
        for kill in 1...Self.kills {
            try databases.protect()
            let place = "death \(kill)"
            try databases.awaitMore(20, place)
            // Anywhere in an epoch.
            usleep(useconds_t.random(in: 0..<50_000))
            try pair.kill(pair.active)
            try pair.awaitTakeover()
            try databases.awaitMore(20, place)
            try pair.revive(pair.active.other)
        }
        try databases.stop()
    }

    /// The control: without output commit the clients know of transactions that the survivor does not.
    @Test func `without output commit confirmed transactions are lost`() throws {
        let databases = try DatabaseGuest()
        let pair = databases.pair
        databases.store()
        try databases.protect(intervalMilliseconds: 1000, unsafeNoOutputCommit: true)
        try pair.awaitEpochs(3)
        try databases.awaitMore(20, "before the death")
        let known = databases.confirmed
        try pair.kill(pair.active)
        try pair.awaitTakeover()
        // The clients' connections are ahead of the guest, so the rows are counted over new ones.
        let rows = try databases.rowsOfNewConnections()
        #expect(rows.maria < known.maria || rows.sqlite < known.sqlite, "\(rows), confirmed \(known)")
    }
}
