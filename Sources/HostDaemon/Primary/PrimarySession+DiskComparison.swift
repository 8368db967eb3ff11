internal import HostAPI
internal import Hypervisor
internal import UnderstudyCore

/// What the backup holds of the disks already is not sent again.
extension PrimarySession {
    /// Waits for the backup's word about the images that it has. Nothing hangs on the guest's disks yet.
    func compareDisks(_ disks: DiskReplication) throws(HostDaemonError) {
        let begun = MonotonicClock.now
        let total = disks.disks.reduce(0) { $0 + $1.byteCount }
        var last = (reported: UInt64(0), at: begun)
        publish(.synchronising, "\(request.backup) says what its copies of the disks hold already")
        while try !disks.learn() {
            try demandBackup()
            let done = disks.comparison.reduce(0) { $0 + $1.reported }
            if done > last.reported { last = (done, MonotonicClock.now) }
            guard MonotonicClock.now - last.at < Self.patienceWithTables else {
                throw HostDaemonError(.peer, "\(request.backup) does not get on with reading its copies of the disks: does its disk hang?")
            }
            showDisks("comparing", disks, sent: 0, done: done, total: total, seconds: Double(MonotonicClock.now - begun) / 1e9)
            try pump(seconds: 0.01)
        }
        publish(.synchronising, "copying the disks to \(request.backup)")
    }

    /// A backup that fell silent during the copy is not waited for.
    func demandBackup() throws(HostDaemonError) {
        if hasEnded { throw HostDaemonError(.peer, lossMessage ?? "protection was given up while the disks were copied") }
    }

    /// Nanoseconds; the backup may have much in its page cache that it writes to its disk first.
    private static let patienceWithTables: UInt64 = 600_000_000_000

    /// Says how far QEMU has come with the copies.
    func showCopy(_ disks: DiskReplication, done: UInt64, total: UInt64, seconds: Double) {
        showDisks("disks", disks, sent: disks.queue.backlog.sentBytes, done: done, total: total, seconds: seconds)
    }

    private func showDisks(_ phase: String, _ disks: DiskReplication, sent: UInt64, done: UInt64, total: UInt64, seconds: Double) {
        let rest = total - min(done, total)
        let rate = Double(done) / max(1e-3, seconds)
        var shown = SynchronisationProgress(
            phase: phase, round: 1, sentBytes: sent, remainingBytes: rest, bytesPerSecond: rate,
            remainingSeconds: rate > 0 ? Double(rest) / rate : nil)
        let comparison = disks.comparison
        shown.comparedBytes = done
        shown.skippedBytes = comparison.reduce(0) { $0 + $1.skipped }
        progress(shown)
        publish { status in
            for (index, numbers) in comparison.enumerated() where index < status.disks?.count ?? 0 {
                status.disks?[index].differingBytes = numbers.differing
                status.disks?[index].skippedBytes = numbers.skipped
            }
        }
    }

    /// Tells how much of the disks was sent.
    func reportCopy(_ disks: DiskReplication, seconds: Double) {
        let total = disks.disks.reduce(0) { $0 + $1.byteCount }
        showCopy(disks, done: total, total: total, seconds: seconds)
        let comparison = disks.comparison
        let differing = comparison.reduce(0) { $0 + $1.differing }
        let skipped = comparison.reduce(0) { $0 + $1.skipped }
        report(
            "disks-synchronised",
            "\(Self.list(disks.disks)) on \(request.backup): \(Self.mebibytes(differing)) of \(Self.mebibytes(total)) MiB differed; every write goes there from now on",
            fields: [
                "disk_bytes": "\(total)", "differing_bytes": "\(differing)", "skipped_bytes": "\(skipped)",
                "sent_bytes": "\(disks.queue.backlog.sentBytes)", "seconds": "\(seconds)",
            ])
    }

    /// In tenths, so that the last block does not read as nothing.
    private static func mebibytes(_ bytes: UInt64) -> String {
        let tenths = (bytes * 10 + 524_288) >> 20
        return tenths % 10 == 0 || tenths > 100 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    }
}
