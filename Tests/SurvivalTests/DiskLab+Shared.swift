import Demonstration
import Foundation
import Glibc
import QMP

/// A pair of hosts that see the same images, as the hosts of a laboratory do anyway.
extension DiskLab {
    static func shared(
        _ setup: Setup = Setup(), faults: [String: String] = [:], settings: String = ProtectedLab.patient, extraMonitor: Bool = false,
        environment: [String: String] = [:], storage: (_ folder: String) throws -> String = { $0 },
        over: (DiskImage) throws -> DiskImage = { $0 }, change: (inout GuestLaunch) -> Void = { _ in }
    ) throws -> DiskLab {
        let lab = try DiskLab(
            setup, faults: faults, settings: settings, extraMonitor: extraMonitor, environment: environment, storage: storage, over: over,
            change: change)
        lab.pair.sharedDisks = true
        return lab
    }

    /// What the images hold now, as everybody on these hosts sees it.
    func contents() throws -> [Data] {
        try [journal, blocks].map { try Data(contentsOf: URL(fileURLWithPath: $0.path)) }
    }

    /// Everything that a QEMU has of disks, jobs and descriptors, by its second monitor.
    func blockGraph() throws -> [String] {
        let client = try pair.connectSecondMonitor()
        defer { client.close() }
        let nodes = try client.execute("query-named-block-nodes", arguments: ["flat": true]).array ?? []
        let jobs = try client.execute("query-jobs").array ?? []
        let drives = try client.execute("query-block").array ?? []
        return
            (nodes.map { "node \($0["node-name"]?.string ?? "")" } + jobs.map { "job \($0["id"]?.string ?? "")" }
            + drives.map { "drive \($0["qdev"]?.string ?? "") \($0["inserted"]?["node-name"]?.string ?? "")" }).sorted()
    }

    /// The survivor's QEMU stands still, and its images with it.
    ///
    /// - Returns: what the images hold.
    func stopSurvivor() throws -> [Data] {
        kill(pair.activePID, SIGSTOP)
        // What the kernel had taken over may still arrive.
        var last = try contents()
        while true {
            usleep(100_000)
            let now = try contents()
            if now == last { return now }
            last = now
        }
    }
}
