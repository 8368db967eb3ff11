internal import GuestMemory
internal import HostAPI
internal import Links
internal import Logging
internal import UnderstudyCore

/// Copies the guest's memory while the guest runs, in rounds: each sends what changed during the one before.
///
/// Owned by the session thread.
struct Synchroniser {
    let session: PrimarySession
    let engine: CheckpointEngine
    let tracker: DirtyTracker
    let copier: PageCopier
    let transmission: EpochTransmission
    private let batch = PageRunList(capacity: batchPages)
    private let progress = Progress()

    private final class Progress {
        var round = 0
        var sentBytes: UInt64 = 0
        let begun = MonotonicClock.now
        var shown: UInt64 = 0
    }

    /// Pages that are copied and sent in one piece.
    private static let batchPages = 1024
    /// When a round has no more than this, the rest fits one epoch.
    private static let smallRound = 4096
    /// After so many rounds the guest is taken to change its memory as fast as the link carries it.
    private static let mostRounds = 30

    init(session: PrimarySession, engine: CheckpointEngine, tracker: DirtyTracker, copier: PageCopier, transmission: EpochTransmission) {
        self.session = session
        self.engine = engine
        self.tracker = tracker
        self.copier = copier
        self.transmission = transmission
    }

    /// Rounds until what changed meanwhile fits one epoch.
    func copyRounds() throws(HostDaemonError) {
        for _ in 0..<Self.mostRounds {
            let pages = try scan()
            try sendScanned(pages)
            session.context.faults.pass(.roundSent)
            progress.round += 1
            if pages <= Self.smallRound { return }
        }
        let limit = session.context.configuration.stagingMebibytes
        session.report(
            "slow-link",
            "after \(Self.mostRounds) rounds the guest still changes its memory as fast as the link carries it; trying with epochs of up to \(limit) MiB",
            level: .warning)
    }

    /// Takes one full checkpoint for the throwaway standby; the guest's output is not held back yet.
    func rehearse() throws(HostDaemonError) {
        for _ in 0..<Self.mostRounds {
            switch try engine.cut(seal: {}, unseal: {}) {
            case .cut(let cut):
                try send(kind: .rehearsal, pages: cut.dirtyPages, deviceStateBytes: cut.deviceStateBytes)
                session.context.faults.pass(.rehearsalSent)
                return
            case .skipped(let reason):
                throw HostDaemonError(.refused, "no checkpoint can be taken now: \(reason)")
            case .hung(let failure):
                throw HostDaemonError(.guest, failure.sentence)
            case .aborted(let reason):
                throw HostDaemonError(.guest, "the checkpoint for the rehearsal failed: \(reason)")
            case .tooLarge:
                // The dirty set is lost with the aborted checkpoint, so all of memory is copied again before the next try.
                try copyRounds()
            }
        }
        throw HostDaemonError(
            .guest, "the guest changes more memory per checkpoint than `staging-mib` holds: raise it, or give the link more bandwidth")
    }

    private func scan() throws(HostDaemonError) -> Int {
        do throws(GuestMemoryError) {
            return try tracker.scan(into: engine.runs)
        } catch {
            throw HostDaemonError(.guest, "the guest's memory cannot be scanned: \(error.message)", cause: error)
        }
    }

    private func sendScanned(_ pages: Int) throws(HostDaemonError) {
        var remaining = pages
        for run in engine.runs.runs {
            var rest = run
            while rest.count > 0 {
                let room = Self.batchPages - batch.pageCount
                let part = PageRun(block: rest.block, firstPage: rest.firstPage, count: min(rest.count, UInt32(room)))
                let taken = batch.append(part)
                if taken {
                    rest.firstPage += part.count
                    rest.count -= part.count
                }
                if !taken || batch.pageCount == Self.batchPages {
                    remaining -= batch.pageCount
                    try sendBatch(remaining: remaining)
                }
            }
        }
        if batch.pageCount > 0 { try sendBatch(remaining: 0) }
    }

    private func sendBatch(remaining: Int) throws(HostDaemonError) {
        do throws(GuestMemoryError) {
            try copier.copy(runs: batch.runs, into: engine.arena.bytes.baseAddress!)
        } catch {
            throw HostDaemonError(.guest, "the guest's memory cannot be read: \(error.message)", cause: error)
        }
        do throws(LinkError) {
            try transmission.send(
                WireMessage.EpochBegin(identity: session.identity(0), kind: .synchronisation(round: UInt32(progress.round))),
                runs: batch.runs,
                pages: UnsafeRawBufferPointer(engine.arena.bytes), deviceState: UnsafeRawBufferPointer(start: nil, count: 0),
                patience: .seconds(30))
        } catch {
            throw HostDaemonError(.peer, "the copy to the backup broke off: \(error.message)", cause: error)
        }
        progress.sentBytes += UInt64(batch.pageCount * GuestPage.size)
        batch.removeAll()
        show(remaining: remaining)
        try session.pumpOnce(timeoutMilliseconds: 0)
        if session.hasEnded { throw HostDaemonError(.peer, session.lossMessage ?? "protection was given up during the synchronisation") }
    }

    private func send(kind: WireMessage.EpochKind, pages: Int, deviceStateBytes: Int) throws(HostDaemonError) {
        do throws(LinkError) {
            try transmission.send(
                WireMessage.EpochBegin(identity: session.identity(0), kind: kind), runs: engine.runs.runs,
                pages: UnsafeRawBufferPointer(engine.arena.bytes),
                deviceState: UnsafeRawBufferPointer(rebasing: engine.deviceState.bytes[..<deviceStateBytes]), patience: .seconds(30))
        } catch {
            throw HostDaemonError(.peer, "the rehearsal's checkpoint could not be sent: \(error.message)", cause: error)
        }
    }

    private func show(remaining: Int) {
        let now = MonotonicClock.now
        guard now - progress.shown > 50_000_000 || remaining == 0 else { return }
        progress.shown = now
        let rate = Double(progress.sentBytes) / max(1e-3, Double(now - progress.begun) / 1e9)
        let rest = UInt64(remaining * GuestPage.size)
        session.progress(
            SynchronisationProgress(
                phase: "synchronising", round: progress.round, sentBytes: progress.sentBytes, remainingBytes: rest, bytesPerSecond: rate,
                remainingSeconds: rate > 0 ? Double(rest) / rate : nil))
    }
}
