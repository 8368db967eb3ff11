internal import Glibc
internal import HostAPI
internal import Hypervisor
internal import Logging
internal import UnderstudyCore

/// Disks whose images both hosts see: nothing is copied here; at a takeover the acknowledged epochs are written again, once the old host is fenced.
extension BackupSession {
    var hasSharedDisks: Bool { preparation.disks.contains { $0.shared != nil } }

    /// Where this host sees the images; nothing is touched.
    ///
    /// - Throws: `.refused` unless they are the very same and the other host could be fenced.
    func planSharedDisks() throws(HostDaemonError) -> [StandbyDisk] {
        var planned: [StandbyDisk] = []
        var locksAreSeen = true
        for wish in preparation.disks {
            guard let shared = wish.shared else {
                throw HostDaemonError(.peer, "\(preparation.primary) shares some disks of the machine and not \(wish.disk.name)")
            }
            let path = wish.path ?? context.configuration.standby.paths[shared.path] ?? shared.path
            guard path.hasPrefix("/") else {
                throw HostDaemonError(.refused, "the shared image of \(wish.disk.name) needs an absolute path here, not \(path)")
            }
            locksAreSeen = try shared.demandSame(at: path) && locksAreSeen
            planned.append(StandbyDisk(name: wish.disk.name, node: wish.disk.node, file: wish.disk.file ?? "", path: path))
        }
        fence = try Fence(
            paths: planned.map(\.path), lengths: preparation.disks.map(\.disk.byteCount), locksAreSeen: locksAreSeen,
            peer: preparation.primary, configuration: context.configuration.fencing, isSkipped: context.faults.skipsFencing)
        return planned
    }

    /// Brings the images to the last committed epoch, once nobody else can write to them.
    ///
    /// - Returns: false while that is not confirmed; it is tried again.
    func takeImages(_ fence: Fence) throws(HostDaemonError) -> Bool {
        let images: [RawImage]?
        do throws(HostDaemonError) { images = try fence.attempt() } catch {
            let sentence =
                fence.isConfirmed
                ? "\(preparation.primary) writes no more, and this host cannot use the shared image: \(error.message)"
                : "no takeover before \(preparation.primary) is fenced: \(error.message)"
            if fenceTrouble != sentence {
                fenceTrouble = sentence
                publish(.takingOver, "\(sentence); trying again")
                if fence.isConfirmed {
                    report("images-unusable", "\(sentence); trying again", level: .error)
                } else {
                    report("fencing-failed", "\(sentence); trying again", level: .error)
                }
            }
            usleep(100_000)
            return false
        }
        guard let images else { return false }
        report("fenced", "\(preparation.primary) can write nothing more to the shared disks")
        try disks?.finish(into: images)
        disks = nil
        context.faults.pass(.disksFinished)
        return true
    }

    /// Begins to wait for the fencing of the old host; true when there is nothing to wait for.
    func isFenced() -> Bool {
        guard fence != nil, disks != nil else { return true }
        awaitsFencing = true
        publish(.takingOver, "waits until it is confirmed that \(preparation.primary) writes nothing more to the shared disks")
        report("fencing", "the takeover waits until \(preparation.primary) writes nothing more to the shared disks")
        return false
    }

    /// One round of a takeover that waits.
    func awaitFencing() {
        guard awaitsFencing, let fence else { return }
        do throws(HostDaemonError) {
            guard try takeImages(fence) else { return }
        } catch {
            awaitsFencing = false
            report("activation-failed", "the disks cannot be brought to the last checkpoint: \(error.message)", level: .error)
            happen(.activationFailed(reason: error.message))
            return
        }
        awaitsFencing = false
        publish(.takingOver, "starting the guest from the last committed checkpoint")
        activateFenced()
    }
}
