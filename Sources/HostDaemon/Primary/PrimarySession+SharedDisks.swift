internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Logging
internal import QMP
internal import UnderstudyCore

/// Disks whose images both hosts see: the guest's writes are held back until their epochs are committed.
extension PrimarySession {
    /// The images' paths here; nil when the backup keeps copies.
    func sharedPaths(_ machine: MachineDescription) -> [String]? {
        guard request.sharedDisks == true else { return nil }
        return machine.writableDisks.map { $0.path(from: machine.process.workingDirectory) ?? "" }
    }

    /// From here on the guest's writes come here before they reach the images; until the first cut each of them still waits for its image.
    func holdBackWrites() throws(HostDaemonError) {
        guard let disks, disks.shared != nil, let qmp else { return }
        do throws(HypervisorError) { try disks.attach(qmp) } catch {
            throw HostDaemonError(.refused, "the writes to a shared disk cannot be held back: \(error.message)", cause: error)
        }
        context.faults.pass(.disksAttached)
        report(
            "disks-shared", "both hosts see the images of \(disks.disks.map(\.name).joined(separator: ", ")); writes wait for their commit")
    }

    /// The backup holds the epoch: now the images get its writes, and it counts as acknowledged when they have them durably.
    func write(_ identity: EpochIdentity, to shared: SharedDisks) {
        shared.held.commit(through: shared.boundary) { [mailbox] in mailbox.post(.imagesHold(identity)) }
    }

    /// Replaces overlays that have grown, and gives protection up before they have no room any more.
    func overlaysAreFull() throws(HostDaemonError) -> Bool {
        let now = MonotonicClock.now
        // A QEMU that is held answers nothing.
        guard !isHeld, let shared = disks?.shared, let qmp, now - overlaysSeen > (shared.isRenewing ? 10_000_000 : 100_000_000) else {
            return false
        }
        overlaysSeen = now
        let limit = UInt64(context.configuration.disks.spillMebibytes) << 20
        var reason = shared.shortage(most: limit)
        do throws(HypervisorError) { try shared.renew(qmp, beyond: limit / 4) } catch { reason = error.message }
        guard let reason else { return false }
        report("overlay-full", "protection is given up and the guest runs on: \(reason)", level: .error)
        try happen(.backupLost(.refusedEpoch(reason: reason)))
        return true
    }

    /// While nobody decides who goes on, nothing that the guest does leaves, and what it writes must lie somewhere: when there is no room any
    /// more, it stands still until somebody decides.
    func spareOverlays() {
        let now = MonotonicClock.now
        guard !isHeld, gateIsClosed, let shared = disks?.shared, !shared.isHome, now - overlaysSeen > 100_000_000 else { return }
        overlaysSeen = now
        guard let reason = shared.shortage(most: UInt64(context.configuration.disks.spillMebibytes) << 20) else { return }
        isHeld = true
        signalGuest(SIGSTOP)
        let sentence = "the guest stands still until the arbiter answers: \(reason)"
        publish(nil, sentence)
        report("overlay-full", sentence, level: .error)
    }

    /// This host goes on alone: before anything leaves, the images get everything that the guest wrote, and it writes to them itself again.
    func bringDisksHome() throws(HostDaemonError) {
        guard request.sharedDisks == true || saved?.sharedDisks == true else { return }
        let isAlive = qemuLives
        if isAlive, isHeld || disks == nil {
            // It was stopped, maybe by a daemon before this one, while another host might have had it; its output is still held.
            isHeld = false
            signalGuest(SIGCONT)
        }
        // The guest may have to stand still for a moment: a daemon that finds it so lets it run.
        let isNoted = isAlive && saved != nil && saved?.isMoving != true
        if isNoted { noteMove(true) }
        defer { if isNoted { noteMove(false) } }
        if let disks {
            if isAlive, qmp == nil {
                do throws(QMPError) { qmp = try QMPClient(socketPath: qmpPath) } catch {
                    throw HostDaemonError(
                        .guest, "QEMU's monitor, by which the guest gets its disks back, does not answer: \(error.message)", cause: error)
                }
            }
            return try disks.bringHome(isAlive ? qmp : nil)
        }
        guard isAlive else { return }
        do {
            let monitor = try qmp ?? QMPClient(socketPath: qmpPath)
            defer { if qmp == nil { monitor.close() } }
            guard try DiskOverlay.hasLeftovers(monitor) else { return }
            report("disks-coming-home", "what an earlier daemon held back is being written to the images", level: .info)
            _ = try DiskMirror.removeAll(monitor)
            try DiskOverlay.bringAllHome(monitor)
        } catch {
            throw HostDaemonError(.guest, "what an earlier daemon held back is not in the images yet: \(error)", cause: error)
        }
    }

    /// Storage of this host that hangs would hold the guest's output for ever: told after `disks.stall-ms`, and after five times as long the
    /// backup, which may see the images in better health, is asked to take over.
    func watchImages() throws(HostDaemonError) {
        guard case .protected = core.state, let held = disks?.shared?.held else { return }
        let (standstill, stall) = (held.standstill, UInt64(context.configuration.disks.stallMilliseconds * 1e6))
        guard standstill > stall else {
            if imagesAreSlow { publish(.protected, protectedMessage) }
            imagesAreSlow = false
            return
        }
        let seconds = Double(standstill / 100_000_000) / 10
        publish(nil, "the storage of the shared images has taken nothing for \(seconds) s, and the output waits for it")
        if !imagesAreSlow {
            imagesAreSlow = true
            report("images-slow", "a shared image has taken nothing for \(seconds) s; the output waits for it", level: .warning)
        }
        if standstill > max(Self.leastPatience, 5 * stall) {
            try giveImagesUp("a shared image has taken nothing for \(seconds) s")
        }
    }

    /// A file system has more to do than to answer at once, in nanoseconds.
    private static let leastPatience: UInt64 = 2_000_000_000

    /// This host cannot bring the guest's writes to the images, so it cannot go on alone either: the backup is asked.
    func giveImagesUp(_ reason: String) throws(HostDaemonError) {
        imagesAreSlow = false
        report("images-failed", "\(request.backup) is asked to take over: \(reason)", level: .error)
        try happen(.guestFailed(.storageFailed))
    }

    /// A write that hung when the images were left has ended.
    func tellOfImagesLeft() {
        guard imagesAreStuck, disks?.shared?.held.hasLeft == true else { return }
        imagesAreStuck = false
        send(.imagesLeft)
    }

    /// Another host may have the images now: nothing more goes there from here, and it is told when nothing can.
    func leaveImages() {
        guard let shared = disks?.shared, !shared.isHome else { return }
        shared.held.leave()
        if imagesAreStuck { return tellOfImagesLeft() }
        let end = MonotonicClock.now + timing.detection
        while !shared.held.hasLeft, MonotonicClock.now < end { usleep(1_000) }
        if shared.held.hasLeft {
            send(.imagesLeft)
        } else {
            imagesAreStuck = true
            report("image-stuck", "a write to a shared image does not end; the other host must fence this one", level: .error)
        }
    }

    /// Protection is over. While nothing was held back from the world, the guest gets its disks back.
    func leaveImages(_ disks: DiskReplication) {
        guard disks.shared?.isHome == false else { return }
        guard !gateIsClosed, !isHeld, processDescriptor >= 0 else {
            disks.shared?.held.leave()
            return
        }
        var trouble: String?
        while true {
            do throws(HostDaemonError) { return try disks.bringHome(qemuLives ? qmp : nil) } catch {
                let sentence = "\(error.message). Mend that, and end neither QEMU nor this daemon meanwhile; it is tried again every second"
                publish(nil, sentence)
                if trouble != error.message { report("disks-not-home", sentence, level: .critical) }
                trouble = error.message
            }
            usleep(1_000_000)
        }
    }

    /// Whether QEMU is there to be asked. After the guest's end it is only when it was started with `-no-shutdown`: the guest may be started
    /// again in it at any time.
    var qemuLives: Bool {
        guard processDescriptor >= 0, let qmp else { return processDescriptor >= 0 && !guestHasEnded }
        var ended = pollfd(fd: processDescriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&ended, 1, 0) == 0 else { return false }
        guard guestHasEnded else { return true }
        // One that ends with its guest does so now, and its monitor goes first.
        do throws(QMPError) {
            let state = try qmp.execute("query-status", timeout: .seconds(2))["status"]?.string
            if state != "shutdown" && state != "guest-panicked" { return state != nil }
            return poll(&ended, 1, CInt(Self.endingMilliseconds)) == 0
        } catch { return false }
    }

    /// How long a QEMU may take to end after its guest.
    private static let endingMilliseconds = 1_000
}
