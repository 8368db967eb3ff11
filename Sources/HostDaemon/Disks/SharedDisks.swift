internal import Glibc
internal import Hypervisor
internal import NBD
internal import QMP
internal import UnderstudyCore

/// The disks of a protected guest whose images both hosts see, on the host that runs it: overlays take the guest's writes, mirrors tell of them,
/// and `HeldWrites` writes them to the images when their epochs are committed.
///
/// Owned by the session thread.
final class SharedDisks {
    let held: HeldWrites
    /// The images' paths on this host, in the disks' order.
    let paths: [String]
    private let disks: [BlockDevice]
    /// Those that the guest uses, and their mirrors.
    private var overlays: [DiskOverlay]
    private var mirrors: [DiskMirror]
    private let socketPath: String
    /// Those below, until the images have what they hold.
    private var old: [DiskOverlay] = []
    private var renewedAt: UInt64 = 0
    /// What is left to do until fresh overlays are in place.
    private var steps: [Step] = []
    /// Mirrors that were ended on purpose.
    private var retired: Set<String> = []

    /// One of the steps of a renewal: they are short, so that checkpoints go on between them.
    private enum Step {
        case prepare(disk: Int)
        case mirror(disk: Int)
        case insert(disk: Int)
        case retire(DiskMirror)
    }
    /// The overlays' files, which have no names.
    private var files: [CInt] = []
    private let folder: String
    private let locksImages: Bool
    /// The last write before the last cut.
    private(set) var boundary: UInt64 = 0
    /// The guest writes to the images itself, and nothing is held.
    private(set) var isHome = true

    /// - Parameters:
    ///   - socketPath: of the server for the mirrors; disk N is its export `diskN`.
    ///   - limits: `folder` takes the overlays.
    ///   - locksImages: whether other QEMUs are kept from the images as the guest's own would.
    ///   - broken: called once, on any thread, when the images cannot be written.
    init(
        disks: [BlockDevice], paths: [String], socketPath: String, limits: DiskLimits, locksImages: Bool = true,
        broken: @escaping @Sendable (String) -> Void
    ) throws(HostDaemonError) {
        self.disks = disks
        self.paths = paths
        self.socketPath = socketPath
        folder = limits.folder
        self.locksImages = locksImages
        try PrivateFolder.make(folder)
        held = try HeldWrites(
            images: try Self.open(disks, paths), mostBytes: limits.queueMebibytes << 20,
            patience: UInt64(limits.stallMilliseconds * 1e6), broken: broken)
        let overlays = disks.enumerated().map { DiskOverlay(index: $0, disk: $1) }
        self.overlays = overlays
        mirrors = overlays.map { Self.mirror($0, of: disks, socketPath) }
    }

    deinit { for file in files { close(file) } }

    private static func open(_ disks: [BlockDevice], _ paths: [String]) throws(HostDaemonError) -> [RawImage] {
        var images: [RawImage] = []
        for (disk, path) in zip(disks, paths) { images.append(try RawImage(shared: path, byteCount: disk.byteCount)) }
        return images
    }

    private static func mirror(_ overlay: DiskOverlay, of disks: [BlockDevice], _ socketPath: String) -> DiskMirror {
        var disk = disks[overlay.disk]
        disk.node = overlay.node
        return DiskMirror(
            index: overlay.number, disk: disk, socketPath: socketPath, export: "disk\(overlay.disk)", copiesContents: false)
    }

    func export(_ index: Int, name: String, queue: WriteQueue) -> any NBDExport {
        HeldDisk(name: name, index: index, byteCount: disks[index].byteCount, queue: queue, held: held)
    }

    /// Puts overlays under the disks, with their mirrors; from then on every write of the guest comes here first.
    func attach(_ qmp: QMPClient) throws(HypervisorError) {
        isHome = false
        for (index, overlay) in overlays.enumerated() {
            let image = Glibc.open(paths[index], O_RDONLY | O_CLOEXEC | (disks[index].usesPageCache ? 0 : Self.direct))
            guard image >= 0 else { throw Self.failure("\(paths[index]) cannot be opened") }
            defer { close(image) }
            try overlay.prepare(qmp, image: image, overlay: try makeFile(index))
            try mirrors[index].attach(qmp)
            let end = ContinuousClock.now + .seconds(30)
            while try !mirrors[index].isWhole(qmp) {
                guard ContinuousClock.now < end else { throw HypervisorError(.timeout, "the mirror of a disk does not begin") }
            }
            try overlay.insert(qmp, mirror: mirrors[index])
            // What QEMU wrote there before may be in this host's page cache only, and no flush of the guest reaches it any more.
            guard fdatasync(image) == 0 else { throw Self.failure("\(paths[index]) cannot be flushed") }
        }
        // QEMU has let go of its own.
        if locksImages { held.lockAsQEMU(true) }
    }

    /// Does one step of replacing overlays that have grown, if there is one to do.
    ///
    /// - Parameter bytes: beyond this they are replaced.
    func renew(_ qmp: QMPClient, beyond bytes: UInt64) throws(HypervisorError) {
        if steps.isEmpty, !old.isEmpty {
            if held.has(renewedAt) { try dropOld(qmp) }
        } else if steps.isEmpty, overlayBytes > bytes {
            steps = overlays.indices.flatMap { [.prepare(disk: $0), .mirror(disk: $0), .insert(disk: $0), .retire(mirrors[$0])] }
        } else if let step = steps.first, try take(step, qmp) {
            steps.removeFirst()
            if steps.isEmpty { renewedAt = held.lastNumber }
        }
    }

    /// Whether a renewal is under way.
    var isRenewing: Bool { !steps.isEmpty }

    /// False when it has to be tried again.
    private func take(_ step: Step, _ qmp: QMPClient) throws(HypervisorError) -> Bool {
        switch step {
        case .prepare(let disk):
            try overlays[disk].successor.prepare(qmp, above: overlays[disk], overlay: try makeFile(disk))
        case .mirror(let disk): try successor(disk).attach(qmp)
        case .insert(let disk):
            let next = successor(disk)
            guard try next.isWhole(qmp) else { return false }
            try overlays[disk].successor.insert(qmp, mirror: next, after: mirrors[disk])
            retired.insert(mirrors[disk].job)
            old.append(overlays[disk])
            overlays[disk] = overlays[disk].successor
            mirrors[disk] = next
        case .retire(let mirror): try mirror.detach(qmp)
        }
        return true
    }

    private func successor(_ disk: Int) -> DiskMirror { Self.mirror(overlays[disk].successor, of: disks, socketPath) }

    /// Whether QEMU's word is about a mirror that was ended on purpose.
    func isExpected(_ event: QMPEvent) -> Bool {
        event.name != "BLOCK_JOB_ERROR" && retired.contains(event.data["device"]?.string ?? "")
    }

    private func dropOld(_ qmp: QMPClient) throws(HypervisorError) {
        for older in old { try overlays[older.disk].drop(qmp, older) }
        for file in files[..<old.count] { close(file) }
        files.removeFirst(old.count)
        old = []
    }

    private static let direct: CInt = 0o40000  // O_DIRECT, which lies behind _GNU_SOURCE

    /// The file of a disk's next overlay.
    private func makeFile(_ disk: Int) throws(HypervisorError) -> CInt {
        let path = "\(folder)/held-\(getpid())-\(UInt64.random(in: .min ... .max))"
        let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.failure("\(path) cannot be made") }
        unlink(path)
        do throws(HypervisorError) { try EmptyOverlay.make(in: descriptor, byteCount: disks[disk].byteCount) } catch {
            close(descriptor)
            throw error
        }
        files.append(descriptor)
        return descriptor
    }

    private static func failure(_ what: String) -> HypervisorError {
        HypervisorError(.systemCall, "\(what): \(String(cString: strerror(errno)))")
    }

    /// The guest stands still and its requests are answered.
    func cut() { boundary = held.cut() }

    /// Bytes that the overlays take.
    var overlayBytes: UInt64 {
        files.reduce(0) { sum, file in
            var status = stat()
            return fstat(file, &status) == 0 ? sum + UInt64(status.st_blocks) * 512 : sum
        }
    }

    /// Why the overlays must go; nil while they have room.
    func shortage(most bytes: UInt64) -> String? {
        let used = overlayBytes
        if used > bytes { return "the writes of the guest that wait for their commit take \(used >> 20) MiB, more than `disks.spill-mib`" }
        var system = statvfs()
        guard let file = files.first, fstatvfs(file, &system) == 0 else { return nil }
        let free = UInt64(system.f_bavail) * UInt64(system.f_frsize)
        return free < Self.leastFree ? "\(folder) has only \(free >> 20) MiB left for the guest's writes" : nil
    }

    private static let leastFree: UInt64 = 256 << 20

    /// This host goes on alone: every write goes to the images, and QEMU writes to them itself again. Safe to call more than once.
    ///
    /// - Parameters:
    ///   - qmp: nil when QEMU has ended; then what it said is written all the same.
    ///   - isWhole: whether every write of the guest came here; else QEMU writes what its overlays have.
    func bringHome(_ qmp: QMPClient?, isWhole: Bool) throws(HostDaemonError) {
        guard !isHome else { return }
        held.letGo(held.needsImages ? try Self.open(disks, paths) : nil)
        guard held.drain(within: Self.drainNanoseconds) else {
            throw HostDaemonError(
                .system, "what the guest wrote cannot be written to its images: \(held.failure ?? "they are too slow")")
        }
        if let qmp {
            do throws(HypervisorError) { try leaveOverlays(qmp, isWhole && held.failure == nil && !held.lacksWrites) } catch {
                throw HostDaemonError(.guest, "the guest's disks cannot be given back to QEMU: \(error.message)", cause: error)
            }
        }
        isHome = true
        held.leave()
    }

    private static let drainNanoseconds: UInt64 = 60_000_000_000

    private func leaveOverlays(_ qmp: QMPClient, _ isWhole: Bool) throws(HypervisorError) {
        held.lockAsQEMU(false)
        if isWhole { for (overlay, mirror) in zip(overlays, mirrors) { try overlay.giveBack(qmp, mirror: mirror) } }
        _ = try DiskMirror.removeAll(qmp)
        // Where a mirror had ended by itself, QEMU writes to the image now.
        held.leave()
        try DiskOverlay.bringAllHome(qmp)
    }
}
