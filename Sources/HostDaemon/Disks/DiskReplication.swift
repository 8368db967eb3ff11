internal import Hypervisor
internal import Links
internal import NBD
internal import QMP
internal import UnderstudyCore

/// The replication of a protected guest's disks, on the host that runs it: QEMU's mirror jobs write into our NBD server, whose writes go to
/// the backup with their epochs.
///
/// Owned by the session thread; QEMU's requests are served by the server's threads.
final class DiskReplication {
    let disks: [BlockDevice]
    let queue: WriteQueue
    /// What is different when both hosts see the images; nil when the backup keeps copies.
    let shared: SharedDisks?
    private let server: NBDServer
    private let mirrors: [DiskMirror]
    private let comparisons: [BlockComparison]
    private var tables: TableReception?
    /// Bytes per second of all mirrors together; 0 without a limit.
    private let copyRate: UInt64
    private var unfinished: Int
    private var flusher: ImageFlusher?
    private var serverGuard: ServerGuard?
    private var sender: WriteSender?
    private var attached = 0
    private var mirrorHasFailed = false
    private var boundary: UInt64 = 0
    /// Epochs count from here on; before, everything is the copy of the disks' contents.
    private var isStaged = false

    /// - Parameters:
    ///   - owner: the user and group of QEMU, which must reach the server's socket.
    ///   - guardProgram: `understudy-guard`, for which the guest's writes do not wait longer than `limits` say even if this process stands still.
    ///   - sharedPaths: the images, when both hosts see them.
    ///   - locksImages: whether other QEMUs are kept from these.
    ///   - broken: called once, on any thread, when writes are not replicated any more.
    init(
        disks: [BlockDevice], socketPath: String, owner: (user: UInt32, group: UInt32), workingDirectory: String, limits: DiskLimits,
        guardProgram: String? = nil, sharedPaths: [String]? = nil, locksImages: Bool = true, broken: @escaping @Sendable (String) -> Void
    ) throws(HostDaemonError) {
        self.disks = disks
        let queue = try WriteQueue(
            byteCount: limits.queueMebibytes << 20, patience: UInt64(limits.stallMilliseconds * 1e6), broken: broken)
        self.queue = queue
        let shared: SharedDisks? =
            if let sharedPaths {
                try SharedDisks(disks: disks, paths: sharedPaths, socketPath: socketPath, limits: limits, locksImages: locksImages) {
                    queue.fail($0)
                }
            } else { nil }
        self.shared = shared
        let copied = shared == nil ? disks : []
        let comparisons = copied.enumerated().map { BlockComparison(disk: $0, byteCount: $1.byteCount, queue: queue) }
        self.comparisons = comparisons
        copyRate = UInt64(limits.copyMebibytes) << 20
        unfinished = disks.count
        let exports: [any NBDExport] = disks.enumerated().map { index, disk in
            shared?.export(index, name: "disk\(index)", queue: queue)
                ?? ReplicatedDisk(
                    name: "disk\(index)", index: index, byteCount: disk.byteCount, queue: queue, comparison: comparisons[index])
        }
        do throws(NBDError) {
            server = try NBDServer(
                socketPath: socketPath, exports: exports, access: NBDSocketAccess(user: owner.user, group: owner.group))
        } catch {
            throw HostDaemonError(.system, "the server for the guest's disk writes cannot listen: \(error.message)", cause: error)
        }
        flusher = shared == nil ? try ImageFlusher(disks: disks, workingDirectory: workingDirectory, queue: queue) : nil
        mirrors = copied.enumerated().map { index, disk in
            DiskMirror(
                index: index, disk: disk, socketPath: socketPath, export: "disk\(index)", blockBytes: comparisons[index].grid.blockBytes)
        }
        let patience = UInt64(limits.stallMilliseconds * 1e6)
        // Last: it needs an end of its own.
        serverGuard = try guardProgram.map { (program) throws(HostDaemonError) in
            try ServerGuard(program: program, socketPath: socketPath, patience: patience)
        }
    }

    /// Sends everything over this stream from now on.
    func send(over stream: SealedStream) throws(HostDaemonError) {
        sender = try WriteSender(queue: queue, stream: stream)
        tables = TableReception(stream: stream, comparisons: comparisons)
    }

    /// Takes what has arrived of the backup's word about its images; true when that is all.
    func learn() throws(HostDaemonError) -> Bool {
        guard let tables else { return true }
        try tables.takeArrived()
        return tables.isComplete
    }

    /// What is known of each disk's comparison with its copy, in bytes.
    var comparison: [(reported: UInt64, differing: UInt64, skipped: UInt64)] {
        comparisons.map { ($0.reportedBytes, $0.differingBytes, $0.skippedBytes) }
    }

    /// The disks are copied: every write goes to the backup from now on, as it is.
    func finishCopy() {
        for comparison in comparisons { comparison.finish() }
        tables = nil
    }

    /// Bytes handed to the link so far.
    var bytesSent: UInt64 { sender?.bytesSent ?? 0 }

    /// Lets QEMU copy each disk and every write from now on; the guest runs on.
    func attach(_ qmp: QMPClient) throws(HypervisorError) {
        if let shared { return try shared.attach(qmp) }
        for mirror in mirrors {
            try mirror.attach(qmp, bytesPerSecond: copyRate / UInt64(mirrors.count))
            attached += 1
        }
    }

    /// QEMU is about to stop the guest, for which it completes every request.
    ///
    /// - Parameter nanoseconds: how long a request may wait for its replication even so.
    func beginStop(within nanoseconds: UInt64) {
        queue.beginStop(within: nanoseconds)
        shared?.held.guest(isStopping: true)
    }

    /// The guest runs again, or does not stop.
    func endStop() {
        queue.endStop()
        shared?.held.guest(isStopping: false)
    }

    /// This host goes on alone: the guest writes to shared images itself again, and they have all that it wrote.
    func bringHome(_ qmp: QMPClient?) throws(HostDaemonError) {
        try shared?.bringHome(qmp, isWhole: !mirrorHasFailed)
    }

    /// How far the copies have come: bytes done and in all, and whether every write reaches both sides.
    func progress(_ qmp: QMPClient) throws(HypervisorError) -> (done: UInt64, total: UInt64, isReady: Bool) {
        var (done, total, isReady) = (UInt64(0), UInt64(0), true)
        var rest: [DiskMirror] = []
        for (mirror, state) in zip(mirrors, try DiskMirror.states(qmp, of: mirrors)) {
            done += state.done
            total += state.total
            isReady = isReady && state.isReady
            if !state.isReady { rest.append(mirror) }
        }
        // What the limit leaves to finished ones belongs to the others.
        if copyRate > 0, !rest.isEmpty, rest.count < unfinished {
            unfinished = rest.count
            for mirror in rest { try mirror.setSpeed(qmp, bytesPerSecond: copyRate / UInt64(rest.count)) }
        }
        return (done, total, isReady)
    }

    /// Runs while the guest stands still and its requests have been drained: what was written until now belongs to the epoch.
    ///
    /// - Parameter base: stands for the disks' contents before the first epoch.
    func close(base: EpochIdentity) {
        if !isStaged { finishCopy() }
        boundary = queue.close()
        shared?.cut()
        guard !isStaged else { return }
        isStaged = true
        queue.mark(base, through: boundary)
    }

    /// The epoch's checkpoint is good, and no mirror has failed before its cut.
    func mark(_ identity: EpochIdentity) { queue.mark(identity, through: boundary) }

    /// Takes note of QEMU's word about the mirrors. QEMU tells of a failed one before anything that comes after it.
    func note(_ event: QMPEvent) {
        guard let failure = DiskMirror.failure(in: event) else { return }
        if shared?.isExpected(event) == true { return }
        mirrorHasFailed = true
        queue.fail(failure)
    }

    /// Whether every write of the guest until the last cut is on its way to the backup.
    var failure: String? { queue.failure }

    /// Takes the mirrors away; the guest's disks are as they were. Safe to call more than once.
    func stop(_ qmp: QMPClient?) -> HypervisorError? {
        queue.fail("replication ended")
        var failure: HypervisorError?
        if let qmp {
            for mirror in mirrors[..<attached] {
                do throws(HypervisorError) { try mirror.detach(qmp) } catch { failure = failure ?? error }
            }
        }
        attached = 0
        sender?.stop()
        sender = nil
        queue.stop()
        flusher?.join()
        flusher = nil
        shared?.held.stop()
        server.stop()
        serverGuard?.stop()
        serverGuard = nil
        return failure
    }
}
