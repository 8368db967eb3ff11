internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Links
internal import Logging
internal import OutputRelay
internal import QMP
internal import Synchronization
internal import UnderstudyCore

/// The guest's disks: copied while the guest runs, then every write replicated with its epoch.
extension PrimarySession {
    /// The disks for the backup, with the operator's wishes.
    func diskPreparations(_ machine: MachineDescription) throws(HostDaemonError) -> [DiskPreparation] {
        let wishes = request.diskPaths ?? [:]
        let disks = machine.writableDisks
        for name in wishes.keys.sorted() where !disks.contains(where: { $0.name == name }) {
            let known = disks.map(\.name).joined(separator: ", ")
            throw HostDaemonError(
                .refused, "\(self.name) has no writable disk \(name): \(known.isEmpty ? "it has none at all" : "it has \(known)")")
        }
        let images: [SharedImage?] =
            request.sharedDisks == true
            ? try SharedImage.lay(for: disks, workingDirectory: machine.process.workingDirectory) : disks.map { _ in nil }
        return zip(disks, images).map { disk, image in
            DiskPreparation(
                disk: disk, path: wishes[disk.name], formerPath: formerPath(disk), overwrite: request.overwriteDisks == true, shared: image)
        }
    }

    /// Where the backup's own guest had the disk. Only a protection that began by itself asks for it: an operator may want to keep that image.
    private func formerPath(_ disk: BlockDevice) -> String? {
        guard isAutomatic, let formerDisks, formerDisks.host == request.backup else { return nil }
        return formerDisks.paths[disk.name]
    }

    /// Notes beside the disks' images that the machine runs on them in this generation, before the backup could go on from a copy: an image
    /// that is found on a dead host later is known to be superseded then.
    func claimDisks(_ machine: MachineDescription, generation: UInt64) {
        for path in machine.rawDiskFiles {
            do throws(HostDaemonError) { try DiskCopy(path: path).claim(machine: name, since: generation) } catch {
                report(
                    "disk-unmarked", "\(error.message): if this host dies and comes back, \(path) will not be taken for its machine's copy",
                    level: .info)
            }
        }
    }

    /// Takes away what a daemon that died left on the guest's disks; true when there was something.
    func removeLeftMirrors() throws(HostDaemonError) -> Bool {
        guard let qmp else { return false }
        let stuck: [String]
        do throws(HypervisorError) {
            let hadMirrors = try DiskMirror.removeAll(qmp)
            let hadOverlays = try DiskOverlay.bringAllHome(qmp)
            stuck = try DiskMirror.stuckFilters(qmp)
            guard !stuck.isEmpty else { return hadOverlays || hadMirrors }
        } catch {
            throw HostDaemonError(.guest, "an earlier daemon's mirror of a disk cannot be taken away: \(error.message)", cause: error)
        }
        throw HostDaemonError(
            .refused,
            "QEMU keeps \(stuck.joined(separator: ", ")) of an earlier mirror above a disk and takes no new mirror of it: the machine runs on as it is, and can be protected again after its QEMU was restarted, or moved to another one (live migration)"
        )
    }

    /// Opens the disk stream and makes the server for QEMU's mirrors.
    func prepareDisks(_ machine: MachineDescription, session: CheckpointSessionID, key: CheckpointSessionKey) throws(HostDaemonError) {
        let disks = machine.writableDisks
        guard !disks.isEmpty else { return }
        // What QEMU said of an earlier daemon's mirrors does not concern these.
        try readMonitor()
        let replication = try DiskReplication(
            disks: disks, socketPath: "\(context.configuration.runtimeFolder)/\(name).nbd",
            owner: (machine.process.userID, machine.process.groupID), workingDirectory: machine.process.workingDirectory,
            limits: context.configuration.disks, guardProgram: context.guardPath, sharedPaths: sharedPaths(machine),
            locksImages: false
        ) { [mailbox] reason in mailbox.post(.disksBroken(reason)) }
        self.disks = replication
        let status = zip(disks, diskPaths + Array(repeating: "", count: disks.count)).map { disk, path in
            DiskStatus(
                name: disk.name, byteCount: disk.byteCount, copy: path, backlogBytes: 0, replicatedBytes: 0,
                shared: replication.shared != nil)
        }
        publish { $0.disks = status }
        shared.withLock { $0.writes = replication.queue }
        try replication.send(over: try connectStream(session: session, key: key))
    }

    /// Copies the disks' contents while the guest runs; afterwards every write reaches the backup.
    func copyDisks() throws(HostDaemonError) {
        guard let disks, disks.shared == nil, let qmp else { return }
        try compareDisks(disks)
        report("disks-synchronising", "copying \(Self.list(disks.disks)) to \(request.backup)")
        do throws(HypervisorError) { try disks.attach(qmp) } catch {
            throw HostDaemonError(.refused, "a disk cannot be replicated: \(error.message)", cause: error)
        }
        context.faults.pass(.disksAttached)
        let begun = MonotonicClock.now
        while true {
            let state: (done: UInt64, total: UInt64, isReady: Bool)
            do throws(HypervisorError) { state = try disks.progress(qmp) } catch {
                throw HostDaemonError(.peer, "the copy of the disks broke off: \(disks.failure ?? error.message)", cause: error)
            }
            let seconds = max(1e-3, Double(MonotonicClock.now - begun) / 1e9)
            showCopy(disks, done: state.done, total: state.total, seconds: seconds)
            if state.isReady { break }
            // What QEMU said before its answer does not make the monitor readable any more.
            try readMonitor()
            try pump(seconds: 0.1)
            try demandBackup()
        }
        context.faults.pass(.disksCopied)
        disks.finishCopy()
        reportCopy(disks, seconds: Double(MonotonicClock.now - begun) / 1e9)
    }

    static func list(_ disks: [BlockDevice]) -> String {
        disks.map { "\($0.name) (\($0.byteCount >> 20) MiB)" }.joined(separator: ", ")
    }

    /// Whether every write of the guest until the last cut went into the mirrors. QEMU tells of a failed mirror before it confirms the save
    /// that comes after, so by now this is known. An epoch without its disks goes nowhere.
    func hasItsDisks(_ epoch: UInt64, _ output: GuestOutput) throws(HostDaemonError) -> Bool {
        guard disks != nil else { return true }
        try readMonitor()
        guard let failure = disks?.failure else { return true }
        unseal(epoch, output)
        try happen(.checkpointAbandoned(epoch))
        if disks?.shared?.held.imagesHaveFailed == true {
            try giveImagesUp(failure)
            return false
        }
        tellDisksLost(failure)
        try happen(.backupLost(.refusedEpoch(reason: failure)))
        return false
    }

    /// The replication broke between two checkpoints.
    func disksBroke(_ reason: String) throws(HostDaemonError) {
        guard disks != nil else { return }
        if isEstablishing { throw HostDaemonError(.peer, "the copy of the disks broke off: \(reason)") }
        switch core.state {
        case .rehearsed, .protected, .switchingOver: break
        default: return
        }
        if disks?.shared?.held.imagesHaveFailed == true { return try giveImagesUp(reason) }
        tellDisksLost(reason)
        try happen(.backupLost(.refusedEpoch(reason: reason)))
    }

    /// Says beside those of the guest's disks that were copies on this host once what they are now.
    func markDisks(_ state: CopySignature.State) {
        for sentence in DiskCopy.mark(saved?.disks ?? [], state, machine: name) { report("disk-mark-failed", sentence, level: .error) }
    }

    private func tellDisksLost(_ reason: String) {
        report(
            "disks-lost", "the guest's disks are not replicated any more, so protection is given up and the guest runs on: \(reason)",
            level: .error)
    }

    /// Takes the mirrors off the guest's disks.
    func letGoOfDisks() {
        guard let disks else { return }
        if core.mayOpenGate, !isEstablishing, !isLettingGo, disks.shared?.isHome == false {
            // What the guest wrote last is here, until its images have it.
            return disks.queue.fail("replication ended")
        }
        self.disks = nil
        leaveImages(disks)
        // A QEMU that is gone, or stands still for ever, needs and takes no commands.
        let mayBeAsked = !isHeld && qemuLives
        // The guest may have to stand still for a moment: a daemon that finds it so lets it run.
        let isNoted = mayBeAsked && qmp != nil && saved?.isMoving != true
        if isNoted { noteMove(true) }
        defer { if isNoted { noteMove(false) } }
        if let failure = disks.stop(mayBeAsked ? qmp : nil) {
            report(
                "mirror-left", "a mirror could not be taken off the guest's disks; it ends by itself: \(failure.message)", level: .warning)
        }
        publish { $0.disks = nil }
        shared.withLock { $0.writes = nil }
    }
}

extension BlockDevice {
    /// The file behind it as a whole path.
    ///
    /// - Parameter workingDirectory: QEMU's.
    func path(from workingDirectory: String) -> String? {
        file.map { $0.hasPrefix("/") ? $0 : "\(workingDirectory)/\($0)" }
    }
}

extension MachineDescription {
    /// The images of the disks that the guest writes to which have no format.
    var rawDiskFiles: [String] {
        writableDisks.filter { ["raw", "file"].contains($0.driver ?? "") && $0.file?.hasPrefix("json:") == false }
            .compactMap { $0.path(from: process.workingDirectory) }
    }

    /// The files of the disks that the guest writes to.
    var diskFiles: [String] { writableDisks.compactMap { $0.path(from: process.workingDirectory) } }
}
