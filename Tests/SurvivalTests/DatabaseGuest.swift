import Demonstration
import Foundation
import HostAPI
import Testing

/// A pair of hosts whose guest runs MariaDB and SQLite, and a client of each.
final class DatabaseGuest {
    let pair: ProtectedLab
    private let maria: DatabaseConversation
    private let sqlite: DatabaseConversation
    /// The disk's image on the host that runs the guest after the next takeover.
    private var copy = ""

    private static let folder = "\(GuestImage.cacheFolder)/databases"
    private static let disk = "\(folder)/disk.raw"
    private static let client = "\(folder)/client"
    static var isMade: Bool { FileManager.default.isReadableFile(atPath: disk) }

    /// Returns when both databases answer.
    init() throws {
        pair = try ProtectedLab(
            disks: { lab in
                let image = "\(lab.host1.folder)/databases.raw"
                try Self.run(["cp", "--sparse=always", Self.disk, image])
                return [GuestDisk(DiskImage(path: image, format: .raw), use: .run)]
            }, change: { $0.memoryMiB = 256 })
        let connections = try Self.connect(pair)
        (maria, sqlite) = connections
    }

    /// Connects, once the databases listen: they start while the guest is up already.
    private static func connect(_ pair: ProtectedLab) throws -> (maria: DatabaseConversation, sqlite: DatabaseConversation) {
        let namespace = pair.lab.client.namespace
        let options = "--no-defaults -h \(LabAddresses.guest) -u proof -N -B --unbuffered --skip-reconnect proof"
        // MariaDB listens before it has run the file that makes this user.
        let isThere = "until \(client)/ld.so --library-path \(client) \(client)/mariadb \(options) -e '' 2>/dev/null; do sleep 0.5; done"
        let maria = try DatabaseConversation(
            namespace: namespace, port: 3306,
            program: "\(isThere); exec \(client)/ld.so --library-path \(client) \(client)/mariadb \(options)"
        ) { "INSERT INTO numbers VALUES (\($0), REPEAT('x', \(100 + $0 % 900))); SELECT \($0);" }
        let relay = "exec 3<>/dev/tcp/\(LabAddresses.guest)/7010 && { cat <&3 & exec cat >&3; }"
        let sqlite = try DatabaseConversation(namespace: namespace, port: 7010, program: relay) { "\($0)" }
        let (first, second) = (maria.ask("SELECT 'here';"), sqlite.ask("check"))
        guard first == "here", second.hasPrefix("DELETE ") else {
            throw SurvivalFailure("the databases answer \(first.debugDescription) and \(second.debugDescription)\n\(pair.logs)")
        }
        return (maria, sqlite)
    }

    func protect(intervalMilliseconds: Double = 25, unsafeNoOutputCommit: Bool = false) throws {
        try pair.protect(intervalMilliseconds: intervalMilliseconds, unsafeNoOutputCommit: unsafeNoOutputCommit)
        copy = try #require(pair.status(pair.active)?.disks?.first?.copy)
    }

    var confirmed: (maria: Int, sqlite: Int) { (maria.confirmed, sqlite.confirmed) }

    /// Both clients begin to store 1, 2, 3, ...
    func store() {
        maria.store()
        sqlite.store()
    }

    /// Waits until each client had so many more transactions confirmed.
    func awaitMore(_ count: Int, _ place: String) throws {
        let before = confirmed
        try pair.wait(
            seconds: 120, for: "\(count) transactions more after \(before), \(place): \(maria.failure ?? ""), \(sqlite.failure ?? "")"
        ) {
            maria.confirmed >= before.maria + count && sqlite.confirmed >= before.sqlite + count
        }
    }

    /// Ends the clients and looks at everything: the rows are those that were confirmed, and databases and file system are sound.
    func stop() throws {
        maria.stop()
        sqlite.stop()
        #expect(maria.failure == nil && sqlite.failure == nil, "\(maria.failure ?? ""), \(sqlite.failure ?? "")\n\(pair.logs)")
        let (rows, sum) = (maria.confirmed, maria.confirmed * (maria.confirmed + 1) / 2)
        #expect(maria.ask("SELECT COUNT(*), SUM(number) FROM numbers;") == "\(rows)\t\(sum)")
        #expect(maria.ask("CHECK TABLE numbers EXTENDED;") == "proof.numbers\tcheck\tstatus\tOK")
        let all = "\(sqlite.confirmed) \(sqlite.confirmed * (sqlite.confirmed + 1) / 2) ok"
        #expect(sqlite.ask("check") == "DELETE \(all) WAL \(all)")
        try pair.kill(pair.active)
        try Self.run(["cp", "--sparse=always", copy, "\(copy).checked"])
        // The journal is replayed first, as a mount would.
        try Self.run(["e2fsck", "-p", "\(copy).checked"])
        try Self.run(["e2fsck", "-f", "-n", "\(copy).checked"])
    }

    /// How many numbers new connections find.
    func rowsOfNewConnections() throws -> (maria: Int, sqlite: Int) {
        let (maria, sqlite) = try Self.connect(pair)
        let counted = sqlite.ask("check").split(separator: " ")
        return (Int(maria.ask("SELECT COUNT(*) FROM numbers;")) ?? -1, counted.count > 1 ? Int(counted[1]) ?? -1 : -1)
    }

    private static func run(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw SurvivalFailure("\(arguments.joined(separator: " ")) ended with \(process.terminationStatus)")
        }
    }
}
