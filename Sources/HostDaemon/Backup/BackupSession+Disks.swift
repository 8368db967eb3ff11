internal import HostAPI
internal import Hypervisor
internal import Links
internal import Logging
internal import UnderstudyCore

/// The copies of the machine's disks: where they are, and how an epoch becomes whole with them.
extension BackupSession {
    /// Bytes; QEMU knows no larger disk (`BDRV_MAX_LENGTH` in `include/block/block_int-common.h`: 2^63, a little less).
    private static let largestDisk: UInt64 = 1 << 62

    /// Where each disk's copy goes; nothing is touched.
    func planDisks() throws(HostDaemonError) -> [StandbyDisk] {
        guard !preparation.disks.isEmpty else { return [] }
        guard preparation.disks.count <= Int(UInt8.max) else {
            throw HostDaemonError(.refused, "the machine has \(preparation.disks.count) disks, more than can be replicated")
        }
        for disk in preparation.disks where disk.disk.byteCount > Self.largestDisk {
            throw HostDaemonError(.refused, "\(disk.disk.name) would have \(disk.disk.byteCount) bytes: no image can be as large")
        }
        if hasSharedDisks { return try planSharedDisks() }
        var planned: [StandbyDisk] = []
        for wish in preparation.disks {
            let path = wish.path ?? formerImage(wish) ?? context.configuration.disks.path(machine: name, disk: wish.disk.name)
            guard path.hasPrefix("/") else {
                throw HostDaemonError(
                    .refused, "the copy of \(wish.disk.name) needs an absolute path on \(context.configuration.name), not \(path)")
            }
            guard !planned.contains(where: { $0.path == path }) else {
                throw HostDaemonError(
                    .refused, "two disks of the machine would have the same copy \(path): name another by `--disk \(wish.disk.name)=PATH`")
            }
            try DiskCopy(path: path).demandFree(
                machine: name, disk: wish.disk.name, generation: preparation.record.generation, overwrite: wish.overwrite)
            planned.append(StandbyDisk(name: wish.disk.name, node: wish.disk.node, file: wish.disk.file ?? "", path: path))
        }
        try demandRoom(planned)
        return planned
    }

    /// The image of the guest that ran here before, if it may be overwritten unasked.
    private func formerImage(_ wish: DiskPreparation) -> String? {
        guard let path = wish.formerPath, path.hasPrefix("/") else { return nil }
        if DiskCopy(path: path).isSuperseded(machine: name, generation: preparation.record.generation) { return path }
        diskWarnings.append(
            "\(path), on which the machine ran here, does not become its copy again: it is gone or in use, or nothing proves that \(preparation.primary) has gone on from it"
        )
        return nil
    }

    /// The images of the machine's guest on the host that runs it, for the time after a takeover.
    var formerDisks: FormerDisks? {
        guard !hasSharedDisks else { return nil }
        let machine = preparation.machine
        let paths = machine.writableDisks.filter { ["raw", "file"].contains($0.driver ?? "") }.compactMap { disk in
            disk.path(from: machine.process.workingDirectory).map { (disk.name, $0) }
        }
        guard !paths.isEmpty else { return nil }
        return FormerDisks(host: preparation.primary, paths: Dictionary(paths, uniquingKeysWith: { first, _ in first }))
    }

    /// A copy that fills its file system would end protection later.
    private func demandRoom(_ planned: [StandbyDisk]) throws(HostDaemonError) {
        for room in DiskRoom.examine(zip(planned, preparation.disks).map { ($0.path, $1.disk.byteCount, $1.disk.allocatedBytes) }) {
            switch room.state {
            case .ok: break
            case .warning:
                diskWarnings.append("the copies may come to fill their file system on \(context.configuration.name): \(room.sentence)")
                report("disk-room-short", room.sentence, level: .warning)
            case .failed:
                throw HostDaemonError(.refused, "too little room for the copies on \(context.configuration.name): \(room.sentence)")
            }
        }
    }

    /// Makes the images, and the empty ones of the rehearsal.
    func makeDisks(_ planned: [StandbyDisk]) throws(HostDaemonError) {
        guard !planned.isEmpty else { return }
        var images: [RawImage] = []
        for (index, (disk, wish)) in zip(planned, preparation.disks).enumerated() {
            if wish.shared == nil {
                images.append(try RawImage(path: disk.path, byteCount: wish.disk.byteCount))
                try DiskCopy(path: disk.path).sign(machine: name)
            }
            _ = try RawImage(path: StandbyCommandLine.rehearsalImage(ofDisk: index, in: folder), byteCount: wish.disk.byteCount)
        }
        let limits = context.configuration.disks
        try PrivateFolder.make(limits.folder)
        disks = try DiskStore(
            images: images, sharedLengths: hasSharedDisks ? preparation.disks.map(\.disk.byteCount) : [],
            memoryBytes: limits.memoryMebibytes << 20, fileBytes: limits.spillMebibytes << 20, folder: limits.folder,
            readRate: UInt64(limits.copyMebibytes) << 20
        ) { [mailbox] event in mailbox.post(.disks(event)) }
    }

    /// Answers the primary's hello on the disk stream and begins to receive.
    func receiveDisks(_ stream: SealedStream, _ hello: WireMessage.Hello) throws(HostDaemonError) {
        try answer(hello, on: stream, what: "disk", isExpected: disks != nil)
        try disks?.receive(stream, base: base)
    }

    func handle(_ event: DiskStore.Event) {
        switch event {
        case .staged(let identity, let entry, let bytes):
            context.faults.pass(.writesStaged)
            stagedDisks[identity.epoch] = (entry, bytes)
            // The primary ends no epoch before its images have the one before.
            disks?.releaseCommitted()
            stageWhole()
        case .failed(let reason):
            guard acknowledges else { return }
            report("disk-copy-failed", reason, level: .error)
            happen(.standbyDied(reason: reason))
        case .ended(let reason):
            guard acknowledges else { return }
            report("stream-ended", "the disk stream from \(preparation.primary) ended: \(reason)", level: .info)
        }
    }

    /// An epoch counts when its memory, its devices and its disk writes are all here. It waits, and with it the primary, while too much of
    /// the epochs before is not in the images yet: a takeover would have to wait for that.
    func stageWhole() {
        guard let identity = stagedMemory, disks == nil || stagedDisks[identity.epoch] != nil, !isBehind else { return }
        stagedMemory = nil
        happen(.epochStaged(identity))
    }

    private var isBehind: Bool {
        guard let disks else { return false }
        let applied = disks.appliedBytes
        return committedDiskBytes > applied && committedDiskBytes - applied > Self.mostBehind
    }

    /// Bytes of committed writes that may wait for the images: what an ordinary disk writes in half a second.
    private static let mostBehind: UInt64 = 64 << 20

    /// Before the guest may run on the copies: they are its newest disks from now on. A host that cannot note that runs it all the same.
    func markCopies() {
        let state = CopySignature.State.ran(since: preparation.record.generation + 1)
        for sentence in DiskCopy.mark(diskPaths, state, machine: name) { report("disk-mark-failed", sentence, level: .error) }
    }

    func commit(_ identity: EpochIdentity) {
        if let staged = stagedDisks.removeValue(forKey: identity.epoch) {
            committedDiskBytes = staged.bytes
            disks?.commit(through: staged.entry)
        }
        receiver?.decide(.apply)
    }

    /// Brings the images to the last committed epoch; later writes are dropped.
    func finishDisks() throws(HostDaemonError) {
        guard let disks else { return }
        self.disks = nil
        try disks.finish()
        context.faults.pass(.disksFinished)
    }

    /// Nobody will use the images, so they are left as they are.
    func dropDisks() {
        guard let disks else { return }
        self.disks = nil
        do throws(HostDaemonError) {
            if try disks.drop(within: Self.dropPatience) { return }
            report(
                "disk-copy-failed", "the file system of \(copyPlaces) still hangs: the copies are in use until it goes on", level: .error)
        } catch {
            report("disk-copy-failed", "the copies \(copyPlaces) are not let go of: \(error.message)", level: .error)
        }
    }

    private static let dropPatience: UInt64 = 2_000_000_000

    private var copyPlaces: String { diskPaths.joined(separator: ", ") }

    /// A file system that hangs has failed, though it does not say so: a takeover would wait for it.
    func watchDisks() {
        let limit = max(2, 5 * context.configuration.disks.stallMilliseconds / 1000)
        guard acknowledges, let disks, Double(disks.standstill) > limit * 1e9 else { return }
        handle(
            DiskStore.Event.failed(
                "the file system of \(copyPlaces) has taken nothing for \(limit) s: look after that storage, then `protect` again"))
    }
}
